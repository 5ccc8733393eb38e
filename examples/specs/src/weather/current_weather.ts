// Two requests to the free API of open-meteo.com: where is the place, what is the weather there.
type Place = { name: string; country?: string; admin1?: string; latitude: number; longitude: number };

const SKY: Record<number, string> = {
  0: "clear sky", 1: "mainly clear", 2: "partly cloudy", 3: "overcast", 45: "fog", 48: "rime fog",
  51: "light drizzle", 53: "drizzle", 55: "dense drizzle", 56: "freezing drizzle", 57: "dense freezing drizzle",
  61: "light rain", 63: "rain", 65: "heavy rain", 66: "freezing rain", 67: "heavy freezing rain",
  71: "light snow", 73: "snow", 75: "heavy snow", 77: "snow grains", 80: "light showers", 81: "showers", 82: "violent showers",
  85: "light snow showers", 86: "heavy snow showers", 95: "thunderstorm", 96: "thunderstorm with hail", 99: "thunderstorm with heavy hail",
};

export default async (input: { place: string; units?: "metric" | "imperial" }, ctx: bmm.Context) => {
  const search = new URLSearchParams({ name: input.place, count: "1", language: "en", format: "json" });
  const found = await ctx.fetch(`https://geocoding-api.open-meteo.com/v1/search?${search}`);
  if (!found.ok) throw new Error(`the place search answered ${found.status}`);
  const place: Place | undefined = (await found.json()).results?.[0];
  if (!place) throw new Error(`no place called "${input.place}"; try the name of the nearest town`);

  const imperial = input.units === "imperial";
  const query = new URLSearchParams({
    latitude: String(place.latitude),
    longitude: String(place.longitude),
    current: "temperature_2m,apparent_temperature,relative_humidity_2m,precipitation,weather_code,wind_speed_10m",
    timezone: "auto",
    ...(imperial ? { temperature_unit: "fahrenheit", wind_speed_unit: "mph", precipitation_unit: "inch" } : {}),
  });
  const answer = await ctx.fetch(`https://api.open-meteo.com/v1/forecast?${query}`);
  if (!answer.ok) throw new Error(`the weather service answered ${answer.status}`);
  const { current } = await answer.json();
  return {
    place: [place.name, place.admin1, place.country].filter(Boolean).join(", "),
    time: current.time,
    sky: SKY[current.weather_code] ?? `code ${current.weather_code}`,
    temperature: current.temperature_2m,
    feelsLike: current.apparent_temperature,
    humidityPercent: current.relative_humidity_2m,
    precipitation: current.precipitation,
    windSpeed: current.wind_speed_10m,
    units: imperial ? "°F, mph, inch" : "°C, km/h, mm",
  };
};
