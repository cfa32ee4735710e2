//! Tells `micro` which compiler its code comes from: instruction counts are of one compiler.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    println!("cargo::rustc-env=CORECAST_RUSTC={}", text.split_whitespace().nth(1).unwrap_or("unknown"));
}
