// Date arithmetic with time zones and nothing but arithmetic: the engine has no time zone database. The zones below follow the
// rules now in force (EU since 1996, US and Canada since 2007, Australia since 2008, New Zealand since 2007, Turkey since 2016, Brazil
// since 2019); earlier instants are answered by the same rules, so old dates may be an hour off. Fixed offsets are exact.
type Change = { month: number; week: number; weekday: number; hour: number; clock: "utc" | "standard" | "wall" };
type Zone = { offset: number; dst?: { shift: number; start: Change; end: Change } };

const SUNDAY = 0;
const LAST = -1;
// European Union: last Sundays of March and October, 01:00 UTC everywhere at once.
const eu = {
  shift: 60,
  start: { month: 3, week: LAST, weekday: SUNDAY, hour: 1, clock: "utc" },
  end: { month: 10, week: LAST, weekday: SUNDAY, hour: 1, clock: "utc" },
} as const;
// United States and Canada: second Sunday of March, first Sunday of November, 02:00 on the wall.
const us = {
  shift: 60,
  start: { month: 3, week: 2, weekday: SUNDAY, hour: 2, clock: "wall" },
  end: { month: 11, week: 1, weekday: SUNDAY, hour: 2, clock: "wall" },
} as const;
// South-eastern Australia: first Sundays of October and April, 02:00 standard time.
const au = {
  shift: 60,
  start: { month: 10, week: 1, weekday: SUNDAY, hour: 2, clock: "standard" },
  end: { month: 4, week: 1, weekday: SUNDAY, hour: 2, clock: "standard" },
} as const;
// New Zealand: last Sunday of September, first Sunday of April, 02:00 standard time.
const nz = {
  shift: 60,
  start: { month: 9, week: LAST, weekday: SUNDAY, hour: 2, clock: "standard" },
  end: { month: 4, week: 1, weekday: SUNDAY, hour: 2, clock: "standard" },
} as const;

const zones: Record<string, Zone> = {
  UTC: { offset: 0 },
  "Europe/London": { offset: 0, dst: eu },
  "Europe/Dublin": { offset: 0, dst: eu },
  "Europe/Lisbon": { offset: 0, dst: eu },
  "Europe/Paris": { offset: 60, dst: eu },
  "Europe/Berlin": { offset: 60, dst: eu },
  "Europe/Madrid": { offset: 60, dst: eu },
  "Europe/Rome": { offset: 60, dst: eu },
  "Europe/Vienna": { offset: 60, dst: eu },
  "Europe/Zurich": { offset: 60, dst: eu },
  "Europe/Stockholm": { offset: 60, dst: eu },
  "Europe/Warsaw": { offset: 60, dst: eu },
  "Europe/Athens": { offset: 120, dst: eu },
  "Europe/Helsinki": { offset: 120, dst: eu },
  "Europe/Istanbul": { offset: 180 },
  "America/New_York": { offset: -300, dst: us },
  "America/Toronto": { offset: -300, dst: us },
  "America/Chicago": { offset: -360, dst: us },
  "America/Denver": { offset: -420, dst: us },
  "America/Phoenix": { offset: -420 },
  "America/Los_Angeles": { offset: -480, dst: us },
  "America/Anchorage": { offset: -540, dst: us },
  "Pacific/Honolulu": { offset: -600 },
  "America/Sao_Paulo": { offset: -180 },
  "America/Argentina/Buenos_Aires": { offset: -180 },
  "America/Bogota": { offset: -300 },
  "Africa/Lagos": { offset: 60 },
  "Africa/Johannesburg": { offset: 120 },
  "Africa/Nairobi": { offset: 180 },
  "Asia/Dubai": { offset: 240 },
  "Asia/Karachi": { offset: 300 },
  "Asia/Kolkata": { offset: 330 },
  "Asia/Dhaka": { offset: 360 },
  "Asia/Bangkok": { offset: 420 },
  "Asia/Singapore": { offset: 480 },
  "Asia/Shanghai": { offset: 480 },
  "Asia/Tokyo": { offset: 540 },
  "Asia/Seoul": { offset: 540 },
  "Australia/Perth": { offset: 480 },
  "Australia/Brisbane": { offset: 600 },
  "Australia/Sydney": { offset: 600, dst: au },
  "Australia/Melbourne": { offset: 600, dst: au },
  "Pacific/Auckland": { offset: 720, dst: nz },
};

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const pad = (value: number, width = 2) => String(Math.abs(value)).padStart(width, "0");

function zone(name: string): Zone {
  if (Object.hasOwn(zones, name)) return zones[name];
  const fixed = /^([+-])(\d{2}):(\d{2})$/.exec(name);
  if (fixed && Number(fixed[2]) <= 14 && Number(fixed[3]) < 60) {
    const minutes = Number(fixed[2]) * 60 + Number(fixed[3]);
    return { offset: fixed[1] === "-" ? -minutes : minutes };
  }
  throw new Error(`unknown zone "${name}". Use an offset such as "+05:30" or one of: ${Object.keys(zones).join(", ")}`);
}

/** The instant of a change in a year. `before` is the offset in force until then. */
function changeAt(change: Change, year: number, standard: number, before: number): number {
  const first = change.week === LAST ? Date.UTC(year, change.month, 0) : Date.UTC(year, change.month - 1, 1);
  const weekday = new Date(first).getUTCDay();
  const days = change.week === LAST ? -((weekday - change.weekday + 7) % 7) : ((change.weekday - weekday + 7) % 7) + 7 * (change.week - 1);
  const wall = first + days * DAY + change.hour * HOUR;
  if (change.clock === "utc") return wall;
  return wall - (change.clock === "standard" ? standard : before) * MINUTE;
}

/** Minutes east of UTC at an instant. */
function offsetAt(rules: Zone, instant: number): number {
  const { dst, offset } = rules;
  if (!dst) return offset;
  const year = new Date(instant + offset * MINUTE).getUTCFullYear();
  const start = changeAt(dst.start, year, offset, offset);
  const end = changeAt(dst.end, year, offset, offset + dst.shift);
  // South of the equator summer runs over the turn of the year.
  const summer = start < end ? instant >= start && instant < end : instant >= start || instant < end;
  return offset + (summer ? dst.shift : 0);
}

/** The instant of a time on the wall. A time that the clock skips is read with the offset before the change; of two, the earlier counts. */
function fromWall(rules: Zone, wall: number): number {
  const candidates = [offsetAt(rules, wall - 14 * HOUR), offsetAt(rules, wall + 14 * HOUR)].map((offset) => wall - offset * MINUTE);
  const fitting = candidates.filter((instant) => instant + offsetAt(rules, instant) * MINUTE === wall);
  return fitting.length > 0 ? Math.min(...fitting) : candidates[0];
}

function parse(text: string, rules: Zone): number {
  const found = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3}))?)?)?(Z|[+-]\d{2}:\d{2})?$/.exec(text.trim());
  if (!found) throw new Error(`cannot read "${text}": write 2026-03-29, 2026-03-29T10:00 or 2026-03-29T10:00:00+02:00`);
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map((part) => Number(part ?? 0));
  const wall = Date.UTC(year, month - 1, day, hour, minute, second, Number((found[7] ?? "0").padEnd(3, "0")));
  const back = new Date(wall);
  if (back.getUTCMonth() !== month - 1 || back.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) {
    throw new Error(`there is no ${text}`);
  }
  if (found[8] === "Z") return wall;
  return found[8] ? wall - zone(found[8]).offset * MINUTE : fromWall(rules, wall);
}

function show(instant: number, rules: Zone): string {
  const offset = offsetAt(rules, instant);
  const wall = new Date(instant + offset * MINUTE);
  const date = `${pad(wall.getUTCFullYear(), 4)}-${pad(wall.getUTCMonth() + 1)}-${pad(wall.getUTCDate())}`;
  const time = `${pad(wall.getUTCHours())}:${pad(wall.getUTCMinutes())}:${pad(wall.getUTCSeconds())}`;
  const sign = offset < 0 ? "-" : "+";
  const size = Math.abs(offset);
  return `${date}T${time}${sign}${pad(Math.floor(size / 60))}:${pad(size % 60)}`;
}

type Amount = { years?: number; months?: number; weeks?: number; days?: number; hours?: number; minutes?: number; seconds?: number };

/** Calendar units move the wall clock, so "one day later" is the same time of day; hours and below are exact time. */
function add(instant: number, rules: Zone, amount: Amount): number {
  const wall = new Date(instant + offsetAt(rules, instant) * MINUTE);
  const months = (amount.years ?? 0) * 12 + (amount.months ?? 0);
  const days = (amount.weeks ?? 0) * 7 + (amount.days ?? 0);
  let moved = instant;
  if (months !== 0 || days !== 0) {
    const month = wall.getUTCMonth() + months;
    const lastDay = new Date(Date.UTC(wall.getUTCFullYear(), month + 1, 0)).getUTCDate();
    const date = Date.UTC(wall.getUTCFullYear(), month, Math.min(wall.getUTCDate(), lastDay)) + days * DAY;
    moved = fromWall(rules, date + (wall.getTime() - Math.floor(wall.getTime() / DAY) * DAY));
  }
  return moved + (amount.hours ?? 0) * HOUR + (amount.minutes ?? 0) * MINUTE + (amount.seconds ?? 0) * 1000;
}

function describe(instant: number, rules: Zone) {
  const wall = new Date(instant + offsetAt(rules, instant) * MINUTE);
  const dayNumber = Math.floor((Date.UTC(wall.getUTCFullYear(), wall.getUTCMonth(), wall.getUTCDate()) - Date.UTC(wall.getUTCFullYear(), 0, 1)) / DAY) + 1;
  return { result: show(instant, rules), utc: show(instant, zones.UTC).replace("+00:00", "Z"), weekday: DAYS[wall.getUTCDay()], dayOfYear: dayNumber };
}

type Input = { operation: "convert" | "add" | "difference"; date: string; zone?: string; to_zone?: string; amount?: Amount; other?: string };

export default (input: Input) => {
  const rules = zone(input.zone ?? "UTC");
  const instant = parse(input.date, rules);
  if (input.operation === "convert") return describe(instant, zone(input.to_zone ?? "UTC"));
  if (input.operation === "add") return describe(add(instant, rules, input.amount ?? {}), zone(input.to_zone ?? input.zone ?? "UTC"));
  if (input.other === undefined) throw new Error('"difference" needs "other"');
  const other = parse(input.other, rules);
  const seconds = (other - instant) / 1000;
  const size = Math.abs(seconds);
  const parts = [[Math.floor(size / 86400), "d"], [Math.floor(size / 3600) % 24, "h"], [Math.floor(size / 60) % 60, "min"], [size % 60, "s"]];
  const text = parts.filter(([count]) => count !== 0).map(([count, name]) => `${count} ${name}`).join(" ") || "0 s";
  return { seconds, days: Math.round((seconds / 86400) * 1e6) / 1e6, text: seconds < 0 ? `-(${text})` : text };
};
