#!/bin/sh
':' //; exec node "$0" 3 3<&0 0</dev/null
// Runtime shim for functions written in JavaScript (CommonJS).
//
// Speaks the OpenWhisk action runtime protocol (POST /init, then any number of POST /run) as HTTP/1.1
// over one connection that, as under inetd, is already open on descriptor 0 when the shim starts.
// Requests follow one another, nothing is pipelined, and end of file means: exit.
//
// Node cannot duplicate a descriptor, so the second line does it: a comment to node, to sh a command
// that moves the connection to descriptor 3 and then becomes node. Under plain `node shim.js` the
// connection stays on 0; process.stdin is made not to lead there, but a child with inherited stdin would.
'use strict';

const fs = require('fs');
const Module = require('module');
const net = require('net');
const { Readable } = require('stream');
const { inspect } = require('util');
const vm = require('vm');

const SENTINEL = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n';
const MAX_BODY_BYTES = 16 * 1024 * 1024;
const exit = process.exit.bind(process);

// Becomes an answer other than 200 OK.
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let findFunction = null; // by name, in the loaded code
let mainName = 'main';
let failRun = null; // rejects the run at hand

// Takes the place of what was loaded before, if anything was.
function init(request) {
  const value = valueIn(request);
  try {
    setEnvironment(value.env || {});
    const code = String(value.code || '');
    findFunction = load(value.binary ? Buffer.from(code, 'base64').toString() : code, value.name || 'app');
  } catch (error) {
    throw failure(error);
  }
  mainName = value.main || 'main';
  return '{"ok":true}';
}

async function run(request) {
  if (!findFunction) throw new Refusal('502 Bad Gateway', 'not initialised');
  const value = valueIn(request);
  const { value: _, ...context } = request;
  try {
    setEnvironment(context, (name) => `__OW_${name.toUpperCase()}`);
    const call = findFunction(context.action_name) || findFunction(mainName);
    if (!call) throw new Error(`the code defines no function ${mainName}`);
    const strayFailure = new Promise((_, reject) => { failRun = reject; });
    const result = await Promise.race([call(value), strayFailure]);
    const json = JSON.stringify(result);
    if (!/^\{/.test(json)) throw new TypeError(`the function returned ${json}, expected an object`);
    return json;
  } catch (error) {
    throw failure(error);
  } finally {
    failRun = null;
    writeLog(1, SENTINEL);
    writeLog(2, SENTINEL);
  }
}

function valueIn(request) {
  const value = request.value ?? {};
  if (!isObject(value)) throw new Refusal('400 Bad Request', 'value is no JSON object');
  return value;
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function setEnvironment(members, variable = (name) => name) {
  for (const [name, member] of Object.entries(members)) {
    if (!/^\w+$/.test(name)) continue;
    process.env[variable(name)] = typeof member === 'string' ? member : JSON.stringify(member);
  }
}

// Returns a lookup of functions by name: exported ones, then those that the code merely declares.
function load(code, name) {
  const filename = `<${name}>`;
  const module = new Module(filename);
  module.filename = filename;
  module.paths = Module._nodeModulePaths(process.cwd());
  // Only from within its scope can declarations be seen; and a named parameter might hide one of them.
  const scope = '\n;return function () { return eval(arguments[0]) }';
  let evaluate;
  try {
    evaluate = module._compile(code + scope, filename);
  } catch (error) {
    // What is left open in the code would be reported in the addition; this throws the better error.
    if (error instanceof SyntaxError) vm.compileFunction(code, [], { filename });
    throw error;
  }
  const find = (wanted) => {
    const exported = module.exports;
    if (Object.prototype.hasOwnProperty.call(Object(exported), wanted)) return exported[wanted];
    if (wanted === mainName && typeof exported === 'function') return exported;
    try {
      const declared = evaluate(wanted);
      return declared === globalThis[wanted] || wanted === 'require' ? undefined : declared;
    } catch {
      return undefined; // no such name, or a reserved word
    }
  };
  return (wanted) => {
    const found = /^[A-Za-z_$][\w$]*$/.test(wanted) ? find(wanted) : undefined;
    return typeof found === 'function' ? found : undefined;
  };
}

// The stack goes to the logs, its gist to the caller.
function failure(error) {
  writeLog(2, `${inspect(error)}\n`);
  if (!(error instanceof Error)) return new Refusal('502 Bad Gateway', inspect(error));
  // Syntax errors have their place in front of the stack only.
  const place = error instanceof SyntaxError && /^<.*>:\d+$/m.exec(error.stack);
  return new Refusal('502 Bad Gateway', place ? `${error} (${place[0]})` : String(error));
}

function writeLog(descriptor, text) {
  try {
    fs.writeSync(descriptor, text);
  } catch {
    // Nobody reads the logs any more.
  }
}

async function answer(route, body) {
  const handler = { 'POST /init': init, 'POST /run': run }[route];
  if (!handler) throw new Refusal('404 Not Found', 'POST /init and POST /run are all there is');
  let request;
  try {
    request = JSON.parse(body.toString());
  } catch (error) {
    throw new Refusal('400 Bad Request', `malformed JSON: ${error.message}`);
  }
  if (!isObject(request)) throw new Refusal('400 Bad Request', 'the body is no JSON object');
  return handler(request);
}

function serve(connection) {
  const respond = (status, body) => {
    const length = Buffer.byteLength(body);
    connection.write(`HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`);
  };
  const refuse = (refusal) => respond(refusal.status, JSON.stringify({ error: refusal.message }));

  let head = null;
  let received = []; // joined only once complete, or a large body would be copied for each packet
  let size = 0;
  connection.on('data', (chunk) => {
    received.push(chunk);
    size += chunk.length;
    if (!head) {
      const start = Buffer.concat(received);
      const end = start.indexOf('\r\n\r\n');
      if (end < 0) return;
      head = parseHead(start.toString('latin1', 0, end));
      received = [start.subarray(end + 4)];
      size -= end + 4;
      // At once, since the sender may wait for the refusal instead of sending it all.
      if (head.length > MAX_BODY_BYTES) refuse(new Refusal('413 Content Too Large', 'the body is larger than 16 MiB'));
    }
    if (head.length > MAX_BODY_BYTES) received = [];
    if (size < head.length) return;
    if (head.length <= MAX_BODY_BYTES) {
      answer(head.route, Buffer.concat(received, head.length)).then((body) => respond('200 OK', body), refuse);
    }
    head = null;
    received = [];
    size = 0;
  });
  connection.on('end', () => exit(0));
  connection.on('error', () => exit(0));
}

function parseHead(text) {
  const [method, path] = text.split(' ', 2);
  const length = /^content-length:\s*(\d+)/im.exec(text);
  return { route: `${method} ${path}`, length: length ? Number(length[1]) : 0 };
}

// No function may end the shim: not by exit, and not by an error in a timer or a stream, which no caller
// can catch. Both fail the run at hand; without one they are log lines.
process.exit = (status) => { throw new Error(`process.exit(${status ?? ''}) is not for functions`); };
process.on('uncaughtException', (error) => {
  if (failRun) failRun(error);
  else writeLog(2, `${inspect(error)}\n`);
});

const descriptor = Number(process.argv[2] || 0);
process.argv.length = 2;
if (descriptor === 0) Object.defineProperty(process, 'stdin', { value: Readable.from([]) });
serve(new net.Socket({ fd: descriptor, readable: true, writable: true }));
