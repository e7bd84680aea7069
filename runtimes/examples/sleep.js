// Sleeps: {"sleep_ms": 250} gives {"slept_ms": 250} a quarter of a second later.
const { setTimeout: sleep } = require('timers/promises');

async function main(args) {
  const sleepMs = args.sleep_ms || 0;
  if (sleepMs > 0) await sleep(sleepMs);
  return { slept_ms: sleepMs };
}
