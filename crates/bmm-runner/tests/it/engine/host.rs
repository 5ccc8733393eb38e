//! What a tool asks its host for.

use std::sync::Arc;

use bmm_cage::Launcher;
use bmm_runner::engine::ToolFailure;
use libtest_mimic::Trial;
use serde_json::json;

use super::{Bench, FakeHost, once};

pub(super) fn cases(launcher: &Launcher) -> Vec<Trial> {
    trials![launcher:
        fetches_overlap_and_come_back_to_their_awaits,
        fetches_are_counted,
        a_failed_fetch_is_a_type_error,
        secrets_basic_auth_and_hmac_are_answered_by_the_host,
        logs_and_progress_reach_the_host_within_limits,
        a_progress_that_is_no_number_is_the_tools_mistake,
    ]
}

fn fetches_overlap_and_come_back_to_their_awaits(launcher: &Launcher) {
    let bench = Bench::of(
        launcher,
        "const got = await Promise.all([1, 2, 3].map((n) => ctx.fetch(`https://api.example.com/${n}`, {
             method: 'post', headers: { 'X-N': String(n) }, body: JSON.stringify({ n }) })));
         const first = await got[0].json();
         return { ok: got.every((r) => r.ok), status: got[1].status, type: got[1].headers.get('Content-Type'), first,
                  text: (await got[1].text()).length > 10, bytes: (await got[2].arrayBuffer()).byteLength > 10 };",
    );
    let host = Arc::new(FakeHost {
        together: 3,
        ..FakeHost::default()
    });
    let output = bench.call_with(0, json!({}), host).expect("it returns");
    assert_eq!(output["ok"], true);
    assert_eq!(output["type"], "application/json");
    assert_eq!((&output["text"], &output["bytes"]), (&json!(true), &json!(true)));
    assert_eq!(output["first"]["method"], "POST");
    assert_eq!(output["first"]["url"], "https://api.example.com/1");
    assert_eq!(output["first"]["body"], "{\"n\":1}");
    assert_eq!(
        output["first"]["headers"],
        json!([["content-type", "text/plain;charset=UTF-8"], ["x-n", "1"]])
    );
}

fn fetches_are_counted(launcher: &Launcher) {
    let bench = Bench::of(
        launcher,
        "let done = 0;
         try { for (;;) { await ctx.fetch('https://api.example.com/'); done++; } }
         catch (error) { return [done, error.name, error.message]; }",
    );
    assert_eq!(
        bench.call(0),
        Ok(json!([20, "TypeError", "this call has used its 20 fetches"]))
    );
    let together = Bench::of(
        launcher,
        "const all = await Promise.allSettled(Array.from({ length: 30 }, () => ctx.fetch('https://api.example.com/')));
         return all.filter((each) => each.status === 'fulfilled').length;",
    );
    assert_eq!(together.call(0), Ok(json!(20)));
}

fn a_failed_fetch_is_a_type_error(launcher: &Launcher) {
    let failure = once(launcher, "await ctx.fetch('https://refused.example.com/');");
    let Err(ToolFailure::Thrown { message }) = failure else {
        panic!("{failure:?}")
    };
    assert!(
        message.starts_with("TypeError: the host is not on the list"),
        "{message}"
    );
    let missing = once(
        launcher,
        "const r = await ctx.fetch('https://api.example.com/missing'); return [r.ok, r.status];",
    );
    assert_eq!(missing, Ok(json!([false, 404])));
}

fn secrets_basic_auth_and_hmac_are_answered_by_the_host(launcher: &Launcher) {
    let output = once(
        launcher,
        "return { key: ctx.secrets.API_KEY, none: typeof ctx.secrets.OTHER, basic: ctx.basicAuth('me', ctx.secrets.API_KEY),
                  mac: await ctx.hmac('sha256', ctx.secrets.API_KEY, 'data'),
                  refused: (() => { try { ctx.hmac('md5', 'x', 'y'); } catch (error) { return error.message; } })() };",
    );
    let expected = json!({
        "key": "handle-of-the-key",
        "none": "undefined",
        "basic": "basic<me:handle-of-the-key>",
        "mac": "mac<handle-of-the-key:4>",
        "refused": "no md5 here",
    });
    assert_eq!(output, Ok(expected));
}

fn logs_and_progress_reach_the_host_within_limits(launcher: &Launcher) {
    let bench = Bench::of(
        launcher,
        "ctx.log('plain', { a: 1 }); console.warn('careful'); ctx.progress(1, 4, 'a quarter');
         for (let i = 0; i < 5000; i++) console.log('x'.repeat(1000));",
    );
    let host = Arc::<FakeHost>::default();
    bench
        .call_with(0, json!({}), Arc::clone(&host))
        .expect("it returns");
    let said = host.said();
    assert_eq!(said[0], "Info: plain {\"a\":1}");
    assert_eq!(said[1], "Warning: careful");
    assert_eq!(said[2], "1 of Some(4.0): Some(\"a quarter\")");
    let bytes: usize = said.iter().map(String::len).sum();
    assert!(bytes < 70 * 1024, "{bytes} bytes were logged");
}

fn a_progress_that_is_no_number_is_the_tools_mistake(launcher: &Launcher) {
    let names = once(
        launcher,
        "const names = [];
         for (const value of [undefined, 'x', NaN, Infinity]) {
           try { ctx.progress(value) } catch (error) { names.push(error.name) }
         }
         return names",
    );
    assert_eq!(
        names,
        Ok(json!(["TypeError", "TypeError", "TypeError", "TypeError"]))
    );
}
