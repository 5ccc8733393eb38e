//! The caged side: reads its set-up, then serves one call after the other, each in an engine of its own.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;

use bmm_cage::{Inherited, Role};

use super::library::Library;
use super::script::serve_one;
use super::wire::{Port, ToWorker};

/// The role of a worker process. Give it to [`bmm_cage::init`], as [`init`](crate::init) does.
pub const ENGINE_ROLE: Role = Role { name: "engine", run };

fn run(inherited: Inherited) -> ExitCode {
    serve(inherited.channel);
    ExitCode::SUCCESS
}

/// Serves calls until the other end of `channel` is closed.
pub(super) fn serve(channel: OwnedFd) {
    let mut port = Port::new(channel);
    let Ok(Some((ToWorker::Setup(setup), modules))) = port.receive(None) else {
        return;
    };
    let Ok(modules) = serde_json::from_slice::<Vec<String>>(&modules) else {
        return;
    };
    let Some(library) = Library::new(modules, &setup) else {
        return;
    };
    let (port, setup, library) = (Rc::new(RefCell::new(port)), Rc::new(setup), Rc::new(library));
    while serve_one(&port, &setup, &library) {}
}
