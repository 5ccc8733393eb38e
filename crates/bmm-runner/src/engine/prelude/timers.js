// Timers: the pump calls `tick` when one is due.
export default ({ host }) => {
  const timers = new Map();
  let lastTimer = 0;
  function addTimer(callback, ms, every, args) {
    if (typeof callback !== "function") throw new TypeError("a timer needs a function");
    const delay = Math.max(every ? 1 : 0, Math.trunc(Number(ms)) || 0);
    timers.set(++lastTimer, { at: host.now() + delay, every: every ? delay : null, callback, args });
    return lastTimer;
  }
  const setTimeout = (callback, ms, ...args) => addTimer(callback, ms, false, args);
  const setInterval = (callback, ms, ...args) => addTimer(callback, ms, true, args);
  const clearTimeout = (id) => void timers.delete(Number(id));

  // Runs one timer that is due. Returns the milliseconds until the next one, or -1 when there is none.
  function tick() {
    const now = host.now();
    let next = null;
    for (const [id, timer] of timers) if (next === null || timer.at < next.timer.at) next = { id, timer };
    if (next === null) return -1;
    if (next.timer.at > now) return next.timer.at - now;
    if (next.timer.every === null) timers.delete(next.id);
    else next.timer.at = now + next.timer.every;
    next.timer.callback(...next.timer.args);
    return 0;
  }

  return { clearInterval: clearTimeout, clearTimeout, setInterval, setTimeout, tick };
};
