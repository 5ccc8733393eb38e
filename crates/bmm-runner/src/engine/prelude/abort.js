// Abort.
export default ({ use }) => {
  const abortError = () => new DOMException("the operation was aborted", "AbortError");

  class AbortSignal {
    #listeners = [];
    #state = { aborted: false, reason: undefined };
    onabort = null;
    get aborted() { return this.#state.aborted; }
    get reason() { return this.#state.reason; }
    throwIfAborted() { if (this.aborted) throw this.reason; }
    addEventListener(type, listener) { if (type === "abort" && !this.aborted) this.#listeners.push(listener); }
    removeEventListener(_type, listener) { this.#listeners = this.#listeners.filter((each) => each !== listener); }
    _abort(reason) {
      if (this.aborted) return;
      this.#state = { aborted: true, reason: reason === undefined ? abortError() : reason };
      const event = { type: "abort", target: this };
      for (const listener of [this.onabort, ...this.#listeners.splice(0)]) {
        if (typeof listener === "function") listener.call(this, event);
        else listener?.handleEvent?.(event);
      }
    }
    static abort(reason) { return abortedBy((abort) => abort(reason)); }
    static timeout(ms) {
      return abortedBy((abort) => use("timers").setTimeout(() => abort(new DOMException("the operation timed out", "TimeoutError")), ms));
    }
    static any(signals) {
      return abortedBy((abort) => {
        for (const signal of signals) {
          if (signal.aborted) return abort(signal.reason);
          signal.addEventListener("abort", () => abort(signal.reason));
        }
      });
    }
  }
  const abortSignal = AbortSignal.prototype._abort;
  delete AbortSignal.prototype._abort;
  function abortedBy(arrange) {
    const signal = new AbortSignal();
    arrange((reason) => abortSignal.call(signal, reason));
    return signal;
  }

  class AbortController {
    #signal = new AbortSignal();
    get signal() { return this.#signal; }
    abort(reason) { abortSignal.call(this.#signal, reason); }
  }

  return { AbortController, AbortSignal };
};
