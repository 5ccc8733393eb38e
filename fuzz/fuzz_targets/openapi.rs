//! Any bytes as a description of an API. What is imported is the same each time, was admitted, and is admitted again as the file
//! that is written; its tools reach the servers of the description and nothing else.
#![no_main]

use bmm_spec::OpenApiImport;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(imported) = OpenApiImport::new(bytes).run() else { return };
    let file = imported.to_json();
    let again = OpenApiImport::new(bytes).run().expect("it was imported before");
    assert_eq!(again.to_json(), file);
    assert_eq!(again.skipped, imported.skipped);
    let (admitted, _) = bmm_spec::admit(file.as_bytes()).expect("what was imported is admitted");
    assert_eq!(admitted.spec().digest(), imported.spec.spec().digest());
    for each in &imported.skipped {
        assert!(!each.to_string().contains(char::is_control), "{each:?}");
    }
    let spec = imported.spec.spec();
    for tool in &spec.tools {
        let hosts = spec.allowed_domains.iter().map(|host| format!("ctx.fetch(`https://{host}"));
        assert!(hosts.into_iter().any(|start| tool.implementation.contains(&start)), "{}", tool.implementation);
        assert_eq!(tool.implementation.matches("ctx.fetch(").count(), 1, "{}", tool.implementation);
    }
    imported.spec.clone().compile().expect("what was imported compiles");
});
