// What a tool says.
export default ({ host, show, text }) => {
  const logger = (level) => (...values) => host.log(level, text(values.map(show).join(" ")));
  const [debug, info, warn, error] = ["debug", "info", "warning", "error"].map(logger);
  const console = { debug, trace: debug, log: info, info, warn, error };

  return { console, info };
};
