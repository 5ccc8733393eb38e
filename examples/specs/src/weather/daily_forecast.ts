// The coming days at a place given by its coordinates.
type Input = { latitude: number; longitude: number; days?: number };

export default async (input: Input, ctx: bmm.Context) => {
  const query = new URLSearchParams({
    latitude: String(input.latitude),
    longitude: String(input.longitude),
    daily: "temperature_2m_min,temperature_2m_max,precipitation_sum,precipitation_probability_max",
    forecast_days: String(input.days ?? 3),
    timezone: "auto",
  });
  const answer = await ctx.fetch(`https://api.open-meteo.com/v1/forecast?${query}`);
  if (!answer.ok) throw new Error(`the weather service answered ${answer.status}`);
  const { daily, timezone } = await answer.json();
  const days = daily.time.map((date: string, index: number) => ({
    date,
    minC: daily.temperature_2m_min[index],
    maxC: daily.temperature_2m_max[index],
    precipitationMm: daily.precipitation_sum[index],
    precipitationPercent: daily.precipitation_probability_max[index],
  }));
  return { timezone, days };
};
