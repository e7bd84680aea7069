// Greets: {"name": "Ada"} gives {"hello": "Ada"}.
function main(args) {
  return { hello: args.name || 'world' };
}
