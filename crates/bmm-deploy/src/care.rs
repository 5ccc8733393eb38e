//! Level-triggered care: what is there is compared with what should be, at the start and every minute.

use std::sync::{Arc, Weak};

use futures_util::StreamExt as _;
use tokio::time::sleep;

use crate::chain::chain;
use crate::deployment::Plan;
use crate::keeper::Keeper;
use crate::reconcile::Phase;
use crate::seat::Seat;
use crate::state::Ending;

/// Servers asked at a time whether they still answer.
const LOOKED_AFTER_AT_A_TIME: usize = 4;

/// Compares what is there with what should be, at once and again and again, as long as there is a deployer.
pub(crate) async fn sweep(deployer: Weak<Keeper>) {
    loop {
        let Some(keeper) = deployer.upgrade() else { return };
        match keeper.runtime.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed what was left behind"),
            Err(error) => tracing::warn!(error = chain(&error), "cannot look for what was left behind"),
        }
        keeper.swept.send_replace(true);
        mend(&keeper);
        look_after(&keeper).await;
        let pause = keeper.limits.sweep_every;
        drop(keeper);
        sleep(pause).await;
    }
}

/// Gives sockets the names back that somebody has taken away, and removes what nobody uses.
fn mend(keeper: &Keeper) {
    let mut state = keeper.lock();
    for one in state
        .servers
        .values_mut()
        .flat_map(|server| server.instances.values_mut())
    {
        if one.phase != Phase::Healthy || one.seat.is_there() {
            continue;
        }
        let public = keeper.public.get().map(|public| public.socket(&one.plan.slug));
        let socket = one.seat.upstream.socket();
        match one.seat.mend(public.as_deref()) {
            Ok(false) => tracing::warn!(socket = %socket.display(), "the socket was gone, and is back"),
            Ok(true) => {
                tracing::warn!(socket = %socket.display(), "the socket was gone: another one, for another process");
                one.end(Ending::DrainSoon);
            }
            Err(error) => tracing::error!(socket = %socket.display(), %error, "the socket is gone"),
        }
    }
    let in_use = state.sockets();
    match keeper.runtime.seats().sweep(&in_use) {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed sockets that nobody uses"),
        Err(error) => tracing::warn!(%error, "cannot look for sockets that nobody uses"),
    }
    let Some(public) = keeper.public.get() else { return };
    match public.mend(&state.routed()) {
        Ok(0) => {}
        Ok(mended) => tracing::warn!(mended, "public sockets were not as they should be, and are now"),
        Err(error) => tracing::error!(%error, "cannot mend the public sockets"),
    }
}

/// Asks every server whether it still answers; one that does not, again and again, is ended, and started again as after a fall.
async fn look_after(keeper: &Keeper) {
    let serving: Vec<(Arc<Plan>, Arc<Seat>, u64)> = {
        let state = keeper.lock();
        let instances = state
            .servers
            .values()
            .flat_map(|server| server.instances.values());
        instances
            .filter(|one| one.routed && one.phase == Phase::Healthy)
            .map(|one| (Arc::clone(&one.plan), Arc::clone(&one.seat), one.restarts))
            .collect()
    };
    let checks = serving.into_iter().map(|(plan, seat, restarts)| async move {
        let found = keeper.check(&plan, &seat).await;
        let mut state = keeper.lock();
        let Some(one) = state
            .instance(&plan.slug, seat.number)
            .filter(|one| one.phase == Phase::Healthy && one.routed && one.restarts == restarts)
        else {
            return;
        };
        let Err(reason) = found else {
            one.misses = 0;
            return;
        };
        one.misses += 1;
        let (slug, misses) = (&plan.slug, one.misses);
        tracing::warn!(slug, misses, reason, "a server does not pass its check any more");
        if one.misses > keeper.limits.misses_allowed {
            one.end(Ending::Kill);
        }
    });
    futures_util::stream::iter(checks)
        .buffer_unordered(LOOKED_AFTER_AT_A_TIME)
        .for_each(|()| std::future::ready(()))
        .await;
}
