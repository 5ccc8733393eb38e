// The part of the `nango` object that actions use, made from `ctx.fetch`. A request's data goes to the mock as it is, so that the
// recording can be found; everything else is as the library has it.
const nangoLibrary = (() => {
  class ActionError extends Error {
    constructor(payload) {
      super(payload?.message ?? JSON.stringify(payload));
      this.name = "ActionError";
      this.type = "action_script_runtime_error";
      this.payload = payload;
    }
  }

  const at = (value, path) => path.split(".").reduce((inner, key) => inner?.[key], value);

  function connected(recorded, ctx) {
    const send = async (config, method) => {
      const answer = await ctx.fetch("https://api.example.com/", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          method: (method ?? config.method ?? "GET").toLowerCase(),
          endpoint: config.endpoint,
          params: typeof config.params === "string" ? Object.fromEntries(new URLSearchParams(config.params)) : config.params,
          data: config.data,
        }),
      });
      if (answer.status === 599) throw new Error(await answer.text());
      return { data: (await answer.json()).data, status: answer.status, statusText: "OK", headers: Object.fromEntries(answer.headers), config };
    };
    const method = (name) => (config) => send(config, name);
    return {
      ActionError,
      get: method("get"), post: method("post"), put: method("put"), patch: method("patch"), delete: method("delete"),
      proxy: (config) => send(config),
      log: (...values) => ctx.log(...values),
      getConnection: async () => recorded.connection,
      getToken: async () => recorded.connection?.credentials ?? "token",
      getMetadata: async () => recorded.metadata,
      updateMetadata: async () => {},
      setMetadata: async () => {},
      zodValidateInput: async ({ input }) => ({ data: input }),
      // One page: a recording has seldom more.
      async *paginate(config) {
        const { data } = await send(config);
        const path = config.paginate?.response_path;
        const page = path ? at(data, path) : Array.isArray(data) ? data : Object.values(data ?? {}).find(Array.isArray);
        if (page?.length) yield page;
      },
    };
  }

  return {
    createAction: (action) => action,
    createSync: (sync) => sync,
    ActionError,
    ProxyConfiguration: undefined,
    run: (action, recorded, ctx) => action.exec(connected(recorded, ctx), recorded.input),
  };
})();
