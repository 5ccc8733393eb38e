use std::fs;
use std::io::ErrorKind;

use bmm_vault::{LocalKek, Vault, VaultError};

#[test]
fn a_created_key_file_loads_as_the_same_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kek");
    let vault = Vault::create(&LocalKek::create(&path).expect("creates")).expect("a vault");
    Vault::open(&LocalKek::load(&path).expect("loads"), vault.wrapped()).expect("the same key");
    let names: Vec<_> = fs::read_dir(folder.path())
        .expect("lists")
        .map(|e| e.expect("entry").file_name())
        .collect();
    assert_eq!(names, ["kek"], "no draft is left behind");
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kek");
    fs::write(&path, b"precious").expect("writes");
    match LocalKek::create(&path) {
        Err(VaultError::KeyFileIo { source, .. }) => assert_eq!(source.kind(), ErrorKind::AlreadyExists),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).expect("reads"), b"precious");
}

#[test]
fn racing_creators_get_one_winner() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kek");
    let winners = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| LocalKek::create(&path).is_ok()))
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().expect("no panic"))
            .filter(|won| *won)
            .count()
    });
    assert_eq!(winners, 1);
}

#[test]
fn a_missing_file_is_an_error_and_stays_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kek");
    assert!(matches!(LocalKek::load(&path), Err(VaultError::KeyFileIo { .. })));
    assert!(!path.exists());
}

#[test]
#[cfg(unix)]
fn a_file_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kek");
    LocalKek::create(&path).expect("creates");
    assert_eq!(
        fs::metadata(&path).expect("metadata").permissions().mode() & 0o777,
        0o600
    );
    for mode in [0o640, 0o604, 0o620, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        assert!(
            matches!(LocalKek::load(&path), Err(VaultError::KeyFile { .. })),
            "{mode:o}"
        );
    }
}

#[test]
#[cfg(unix)]
fn a_file_of_the_wrong_size_or_kind_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    for size in [0, 31, 33] {
        let path = folder.path().join(size.to_string());
        fs::write(&path, vec![0; size]).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(
            matches!(LocalKek::load(&path), Err(VaultError::KeyFile { .. })),
            "{size}"
        );
    }
    assert!(matches!(
        LocalKek::load(folder.path()),
        Err(VaultError::KeyFile { .. })
    ));
}
