// What the host answers.
export default ({ host, text, use }) => {
  const { parse, stringify } = JSON;
  // An answer that is not there yet never comes in this call: the tool is called again with it, and hears it here.
  function ask(kind, question) {
    const answer = host.ask(kind, text(stringify(question)));
    return answer === "" ? new Promise(() => {}) : parse(answer);
  }

  return {
    elicit: async (question) => ask("elicit", question),
    sample: async (question) => ask("sample", question),
    roots: async (question = {}) => (await ask("roots", question)).roots,
    basicAuth: (user, secret) => host.basicAuth(text(user), text(secret)),
    hmac: (algorithm, secret, data) => host.hmac(text(algorithm), text(secret), use("bytes").packed(data)),
    progress: (progress, total, message) =>
      host.progress(Number(progress), total === undefined ? undefined : Number(total), message === undefined ? undefined : text(message)),
  };
};
