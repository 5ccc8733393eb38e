type Input = { owner: string; repo: string; title: string; body?: string; labels?: string[] };

export default async (input: Input, ctx: bmm.Context) => {
  const repository = `${encodeURIComponent(input.owner)}/${encodeURIComponent(input.repo)}`;
  const answer = await ctx.fetch(`https://api.github.com/repos/${repository}/issues`, {
    method: "POST",
    headers: {
      Accept: "application/vnd.github+json",
      Authorization: `Bearer ${ctx.secrets.GITHUB_TOKEN}`,
      "Content-Type": "application/json",
      "User-Agent": "bmm-example",
      "X-GitHub-Api-Version": "2022-11-28",
    },
    body: JSON.stringify({ title: input.title, body: input.body ?? "", labels: input.labels ?? [] }),
  });
  if (answer.status === 403 || answer.status === 404) {
    throw new Error(`the token may not create issues in ${input.owner}/${input.repo}; it needs the permission "Issues: write"`);
  }
  if (!answer.ok) throw new Error(`GitHub answered ${answer.status}`);
  const { number, html_url } = await answer.json();
  return { number, url: html_url };
};
