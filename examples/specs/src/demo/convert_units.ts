// Each unit as a factor to the base unit of its quantity. Temperatures have an offset as well: base = value * factor + offset.
type Unit = { quantity: string; factor: number; offset?: number };

const METRE = 1;
const units: Record<string, Unit> = {
  // length, base metre
  nm: { quantity: "length", factor: 1e-9 },
  um: { quantity: "length", factor: 1e-6 },
  mm: { quantity: "length", factor: 1e-3 },
  cm: { quantity: "length", factor: 1e-2 },
  m: { quantity: "length", factor: METRE },
  km: { quantity: "length", factor: 1e3 },
  in: { quantity: "length", factor: 0.0254 },
  ft: { quantity: "length", factor: 0.3048 },
  yd: { quantity: "length", factor: 0.9144 },
  mi: { quantity: "length", factor: 1609.344 },
  nmi: { quantity: "length", factor: 1852 },
  // mass, base kilogram
  mg: { quantity: "mass", factor: 1e-6 },
  g: { quantity: "mass", factor: 1e-3 },
  kg: { quantity: "mass", factor: 1 },
  t: { quantity: "mass", factor: 1e3 },
  oz: { quantity: "mass", factor: 0.028349523125 },
  lb: { quantity: "mass", factor: 0.45359237 },
  st: { quantity: "mass", factor: 6.35029318 },
  // temperature, base kelvin
  K: { quantity: "temperature", factor: 1 },
  C: { quantity: "temperature", factor: 1, offset: 273.15 },
  F: { quantity: "temperature", factor: 5 / 9, offset: 273.15 - (32 * 5) / 9 },
  // volume, base litre
  ml: { quantity: "volume", factor: 1e-3 },
  l: { quantity: "volume", factor: 1 },
  m3: { quantity: "volume", factor: 1e3 },
  tsp: { quantity: "volume", factor: 0.00492892159375 },
  tbsp: { quantity: "volume", factor: 0.01478676478125 },
  floz: { quantity: "volume", factor: 0.0295735295625 },
  cup: { quantity: "volume", factor: 0.2365882365 },
  pt: { quantity: "volume", factor: 0.473176473 },
  qt: { quantity: "volume", factor: 0.946352946 },
  gal: { quantity: "volume", factor: 3.785411784 },
  // area, base square metre
  cm2: { quantity: "area", factor: 1e-4 },
  m2: { quantity: "area", factor: 1 },
  ha: { quantity: "area", factor: 1e4 },
  km2: { quantity: "area", factor: 1e6 },
  ft2: { quantity: "area", factor: 0.09290304 },
  acre: { quantity: "area", factor: 4046.8564224 },
  mi2: { quantity: "area", factor: 2589988.110336 },
  // speed, base metre per second
  "m/s": { quantity: "speed", factor: 1 },
  "km/h": { quantity: "speed", factor: 1 / 3.6 },
  mph: { quantity: "speed", factor: 0.44704 },
  kn: { quantity: "speed", factor: 1852 / 3600 },
  // time, base second
  ms: { quantity: "time", factor: 1e-3 },
  s: { quantity: "time", factor: 1 },
  min: { quantity: "time", factor: 60 },
  h: { quantity: "time", factor: 3600 },
  d: { quantity: "time", factor: 86400 },
  wk: { quantity: "time", factor: 604800 },
  // data, base byte
  bit: { quantity: "data", factor: 0.125 },
  B: { quantity: "data", factor: 1 },
  kB: { quantity: "data", factor: 1e3 },
  MB: { quantity: "data", factor: 1e6 },
  GB: { quantity: "data", factor: 1e9 },
  TB: { quantity: "data", factor: 1e12 },
  KiB: { quantity: "data", factor: 1024 },
  MiB: { quantity: "data", factor: 1024 ** 2 },
  GiB: { quantity: "data", factor: 1024 ** 3 },
  TiB: { quantity: "data", factor: 1024 ** 4 },
  // energy, base joule
  J: { quantity: "energy", factor: 1 },
  kJ: { quantity: "energy", factor: 1e3 },
  cal: { quantity: "energy", factor: 4.184 },
  kcal: { quantity: "energy", factor: 4184 },
  Wh: { quantity: "energy", factor: 3600 },
  kWh: { quantity: "energy", factor: 3.6e6 },
  // pressure, base pascal
  Pa: { quantity: "pressure", factor: 1 },
  kPa: { quantity: "pressure", factor: 1e3 },
  bar: { quantity: "pressure", factor: 1e5 },
  psi: { quantity: "pressure", factor: 6894.757293168 },
  atm: { quantity: "pressure", factor: 101325 },
};

function unit(name: string): Unit {
  // Own names only, so that `toString` is no unit.
  if (Object.hasOwn(units, name)) return units[name];
  throw new Error(`unknown unit "${name}". Known: ${Object.keys(units).join(", ")}`);
}

export default (input: { value: number; from: string; to: string }) => {
  const from = unit(input.from);
  const to = unit(input.to);
  if (from.quantity !== to.quantity) {
    throw new Error(`"${input.from}" is a ${from.quantity}, "${input.to}" is a ${to.quantity}`);
  }
  const base = input.value * from.factor + (from.offset ?? 0);
  const exact = (base - (to.offset ?? 0)) / to.factor;
  // Twelve digits: what is past them is rounding of the floating point, not knowledge.
  return { value: Number(exact.toPrecision(12)), unit: input.to, quantity: from.quantity };
};
