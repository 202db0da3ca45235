-- The tables of Auth.js for PostgreSQL, as @auth/pg-adapter documents them, and a column of our own for roles.
-- A web app that brings its own migrations does not need this file.
CREATE TABLE users (
    id serial PRIMARY KEY,
    name varchar(255),
    email varchar(255),
    "emailVerified" timestamptz,
    image text,
    role text NOT NULL DEFAULT 'user'
);

CREATE TABLE accounts (
    id serial PRIMARY KEY,
    "userId" integer NOT NULL,
    type varchar(255) NOT NULL,
    provider varchar(255) NOT NULL,
    "providerAccountId" varchar(255) NOT NULL,
    refresh_token text,
    access_token text,
    expires_at bigint,
    id_token text,
    scope text,
    session_state text,
    token_type text
);

CREATE TABLE sessions (
    id serial PRIMARY KEY,
    "userId" integer NOT NULL,
    expires timestamptz NOT NULL,
    "sessionToken" varchar(255) NOT NULL
);

-- The adapter's own description has no index; every request of the gateway looks here.
CREATE UNIQUE INDEX sessions_token ON sessions ("sessionToken");

CREATE TABLE verification_token (
    identifier text NOT NULL,
    expires timestamptz NOT NULL,
    token text NOT NULL,
    PRIMARY KEY (identifier, token)
);
