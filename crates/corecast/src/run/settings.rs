//! The settings of a role: its defaults, file, environment, flags; checked.

use std::collections::BTreeMap;

use crate::cli::{CommonArgs, GatewayArgs, Role, RouterArgs, ServeArgs};
use crate::commands;
use crate::config::load::Origin;
use crate::config::values::Secret;
use crate::config::{Origins, Settings, validate};
use crate::exit::Failure;

type Env = BTreeMap<String, String>;

pub(super) fn of_standalone(args: &ServeArgs, env: &Env) -> Result<Settings, Failure> {
    let mut flags = Flags::read(Role::Standalone, &args.common, env)?;
    flags.serve(args);
    flags.checked(Role::Standalone)
}

pub(super) fn of_gateway(args: &GatewayArgs, env: &Env) -> Result<Settings, Failure> {
    let mut flags = Flags::read(Role::Gateway, &args.serve.common, env)?;
    flags.serve(&args.serve);
    let routers = Some(args.routers.clone()).filter(|routers| !routers.is_empty());
    flags.set(routers, "--router", "gateway", "routers", |settings| &mut settings.gateway.routers);
    flags.checked(Role::Gateway)
}

pub(super) fn of_router(args: &RouterArgs, env: &Env) -> Result<Settings, Failure> {
    let mut flags = Flags::read(Role::Router, &args.common, env)?;
    let common = &args.common;
    flags.set(args.listen.clone(), "--listen", "router", "listen", |settings| &mut settings.router.listen);
    flags.set(common.cores, "--cores", "router", "cores", |settings| &mut settings.router.cores);
    flags.set(common.cpus.clone(), "--cpus", "router", "cpus", |settings| &mut settings.router.cpus);
    flags.checked(Role::Router)
}

struct Flags {
    settings: Settings,
    origins: Origins,
}

impl Flags {
    fn read(role: Role, common: &CommonArgs, env: &Env) -> Result<Self, Failure> {
        let (settings, origins) = commands::read(Some(role), common.config.as_deref(), env)?;
        let mut flags = Self { settings, origins };
        flags.set(common.admin.clone(), "--admin", "admin", "listen", |settings| &mut settings.admin.listen);
        Ok(flags)
    }

    fn serve(&mut self, args: &ServeArgs) {
        let common = &args.common;
        self.set(args.listen.clone(), "--listen", "gateway", "listen", |settings| &mut settings.gateway.listen);
        self.set(common.cores, "--cores", "gateway", "cores", |settings| &mut settings.gateway.cores);
        self.set(common.cpus.clone(), "--cpus", "gateway", "cpus", |settings| &mut settings.gateway.cpus);
        let key = args.api_key.as_deref().map(|key| Some(Secret::new(key)));
        if key.is_some() {
            // The flag wins over both ways of configuring a key.
            self.settings.admin.api_key_file = None;
        }
        self.set(key, "--api-key", "admin", "api_key", |settings| &mut settings.admin.api_key);
    }

    fn set<T>(
        &mut self,
        value: Option<T>,
        flag: &'static str,
        table: &str,
        key: &str,
        field: impl FnOnce(&mut Settings) -> &mut T,
    ) {
        if let Some(value) = value {
            *field(&mut self.settings) = value;
            self.origins.insert((table.to_owned(), key.to_owned()), Origin::Flag(flag));
        }
    }

    fn checked(self, role: Role) -> Result<Settings, Failure> {
        validate::check(&self.settings, &self.origins, Some(role))?;
        Ok(self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_override_the_environment() {
        let env = Env::from([
            ("CORECAST_GATEWAY_LISTEN".to_owned(), "1.1.1.1:1".to_owned()),
            ("CORECAST_GATEWAY_CORES".to_owned(), "2".to_owned()),
            ("CORECAST_ADMIN_API_KEY_FILE".to_owned(), "/nonexistent".to_owned()),
        ]);
        let args = ServeArgs {
            common: CommonArgs { cores: Some(3), ..CommonArgs::default() },
            api_key: Some("k".to_owned()),
            ..ServeArgs::default()
        };
        let settings = of_standalone(&args, &env).unwrap();
        assert_eq!((settings.gateway.listen.as_str(), settings.gateway.cores), ("1.1.1.1:1", 3));
        assert_eq!(settings.admin.api_key.unwrap().expose(), "k");
    }

    #[test]
    fn a_wrong_flag_is_named_as_the_origin() {
        let args = ServeArgs { listen: Some("here".to_owned()), ..ServeArgs::default() };
        let failure = of_standalone(&args, &Env::new()).unwrap_err();
        assert_eq!(failure.code(), 78);
        assert!(failure.to_string().contains("gateway.listen is from --listen"), "{failure}");
    }
}
