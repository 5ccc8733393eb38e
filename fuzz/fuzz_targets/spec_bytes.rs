//! Any bytes as a spec: admission answers, it never panics, hangs or grows.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = bmm_spec::admit(bytes);
});
