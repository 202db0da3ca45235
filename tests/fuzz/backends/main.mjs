// The site of tests/support/backends.py on Node: `node main.mjs PORT PORT PORT PORT PORT`, for a server that
// routes by the URL Standard, Express 5, Express 5 strict, Express 4, Express 4 strict.
import http from 'node:http';
import express from 'express';
import express4 from 'express4';

const GUARDED = [/^\/admin(\/.*)?$/s, /^\/users\/[^/]+\/admin(\/.*)?$/s];
const OPEN = [/^\/public(\/.*)?$/s, /^\/users(\/.*)?$/s];

const answer = (response, handler) => {
  response.writeHead(200, { 'X-Handler': handler, 'Content-Length': 0 });
  response.end();
};
const matches = (patterns, path) => patterns.some((pattern) => pattern.test(path));

const byUrl = (request, response) => {
  const path = new URL(request.url, 'http://backend.test').pathname;
  answer(response, matches(GUARDED, path) ? 'guarded' : matches(OPEN, path) ? 'open' : 'nothing');
};

const site = (make, rest, strict) => {
  const app = make();
  if (strict) {
    app.enable('strict routing');
    app.enable('case sensitive routing');
  }
  app.set('env', 'production');
  const serve = (handler) => (_request, response) => answer(response, handler);
  for (const [path, handler] of [
    ['/admin', 'guarded'],
    ['/users/:id/admin', 'guarded'],
    ['/public', 'open'],
    ['/users', 'open'],
  ]) {
    app.all(path, serve(handler));
    app.all(path + rest, serve(handler));
  }
  app.use(serve('nothing'));
  // A parameter that cannot be decoded is an error of Express, which answers without a handler.
  app.use((_error, _request, response, _next) => response.writeHead(400, { 'Content-Length': 0 }).end());
  return app;
};

const apps = [
  byUrl,
  site(express, '/{*rest}', false),
  site(express, '/{*rest}', true),
  site(express4, '/*', false),
  site(express4, '/*', true),
];
apps.forEach((app, index) => {
  const server = http.createServer({ keepAliveTimeout: 3600_000 }, app);
  server.listen(Number(process.argv[2 + index]), '127.0.0.1');
});
