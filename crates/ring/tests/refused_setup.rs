//! A sandbox or a limit that forbids the ring is named, with the fix.

#![allow(unsafe_code)] // sets up what std cannot

mod common;

use corecast_ring::{Reactor, ReactorConfig, SetupError};

/// Forbids `io_uring_setup` for the calling thread, as the default profiles of container runtimes do.
fn forbid_io_uring(errno: u32) {
    const LOAD_WORD_ABSOLUTE: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
    const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        instruction(LOAD_WORD_ABSOLUTE, 0, 0, 0), // seccomp_data.nr
        instruction(JUMP_IF_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | errno),
        instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: no pointers are passed.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the filter and its program live across the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(result, 0);
}

#[test]
fn a_seccomp_filter_is_named() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        // A filter holds for the thread that installs it.
        std::thread::spawn(move || {
            forbid_io_uring(errno as u32);
            let error = Reactor::new(&common::small()).unwrap_err();
            assert!(matches!(error, SetupError::Forbidden { .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains("seccomp") && message.contains("io_uring_setup"), "{message}");
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_table_beyond_the_descriptor_limit_is_named() {
    let limit = corecast_ring::limits::raise_descriptors().unwrap();
    let Ok(wanted) = u32::try_from(limit.soft + 1) else { return };
    if wanted > corecast_ring::CONNECTIONS_MAX {
        return; // this host's limit is no obstacle for any ring
    }
    let error = Reactor::new(&ReactorConfig { connections: wanted, ..common::small() }).unwrap_err();
    let SetupError::DescriptorLimit { wanted: said, limit: bound } = error else { panic!("{error:?}") };
    assert_eq!((said, bound), (wanted, limit.soft));
}

#[test]
fn a_broken_configuration_is_named() {
    let error = Reactor::new(&ReactorConfig { receive_buffers: 3, ..common::small() }).unwrap_err();
    assert!(error.to_string().contains("power of two"), "{error}");
}
