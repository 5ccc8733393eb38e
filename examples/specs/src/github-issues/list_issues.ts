// The token goes to api.github.com in a header and nowhere else: code gets a handle, the host puts the value in its place.
type Issue = { number: number; title: string; state: string; html_url: string; comments: number; labels: { name: string }[]; pull_request?: object };
type Input = { owner: string; repo: string; state?: "open" | "closed" | "all"; labels?: string[]; limit?: number };

export default async (input: Input, ctx: bmm.Context) => {
  const query = new URLSearchParams({ state: input.state ?? "open", per_page: String(input.limit ?? 20) });
  if (input.labels?.length) query.set("labels", input.labels.join(","));
  const repository = `${encodeURIComponent(input.owner)}/${encodeURIComponent(input.repo)}`;
  const answer = await ctx.fetch(`https://api.github.com/repos/${repository}/issues?${query}`, {
    headers: {
      Accept: "application/vnd.github+json",
      Authorization: `Bearer ${ctx.secrets.GITHUB_TOKEN}`,
      "User-Agent": "bmm-example",
      "X-GitHub-Api-Version": "2022-11-28",
    },
  });
  if (answer.status === 404) throw new Error(`there is no repository ${input.owner}/${input.repo}, or the token cannot see it`);
  if (!answer.ok) throw new Error(`GitHub answered ${answer.status}`);
  const all: Issue[] = await answer.json();
  // GitHub lists pull requests among the issues.
  const issues = all
    .filter((issue) => !issue.pull_request)
    .map(({ number, title, state, html_url, comments, labels }) => ({
      number, title, state, comments, labels: labels.map((label) => label.name), url: html_url,
    }));
  return { count: issues.length, issues };
};
