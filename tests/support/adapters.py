"""The tables that every adapter of Auth.js makes in PostgreSQL, and how each writes a session.

The statements are those that the adapters' own code or migrations ran; columns that no look-up
touches are left out where they only repeat a kind. Each brings the tables that stand beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

USER: Final = {
    "text": "clx1k2j3h0000qzrmn8v3f7ab",
    "uuid": "7f2f2a0e-5d1c-4b9e-9a51-0d8f0c6f7e11",
    "int": "42",
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter: its statements, what its tables are called, and how it writes.

    `ids` is the kind of its users' ids, `clock` how its column holds the end: "utc" (no time zone),
    "instant" or "milliseconds".
    """

    name: str
    ddl: str
    sessions: str
    users: str
    token: str
    user: str
    ids: str
    clock: str
    needs_id: str | None = None
    """What a session's own id is made of, where the database does not make it itself."""

    @property
    def user_id(self) -> str:
        """The id of the one user, as text."""
        return USER[self.ids]

    def end(self, unix: float) -> str:
        """Return an SQL literal of a time, as the adapter writes it."""
        if self.clock == "milliseconds":
            return f"'{round(unix * 1000)}'"
        moment = datetime.fromtimestamp(unix, UTC)
        zone = "" if self.clock == "utc" else "+00"
        return f"'{moment:%Y-%m-%d %H:%M:%S.%f}{zone}'"

    def insert_user(self) -> str:
        """Return the statement that makes the one user, Ada."""
        return (
            f"insert into {self.users} (id, name, email, image) values ('{self.user_id}', "
            "'Ada', 'ada@example.com', 'https://example.com/ada.png')"
        )

    def insert_session(self, token: str, expires: float, user: str | None = None) -> str:
        """Return the statement that makes a session of Ada's, or of another user's id."""
        owner = self.user_id if user is None else user
        names, values = [f'"{self.token}"', f'"{self.user}"', "expires"], []
        values = [f"'{token}'", f"'{owner}'", self.end(expires)]
        if self.needs_id is not None:
            names.insert(0, "id")
            values.insert(0, self.needs_id)
        return f"insert into {self.sessions} ({', '.join(names)}) values ({', '.join(values)})"


_TEXT_ID: Final = "gen_random_uuid()::text"
_PG: Final = """
create table verification_token (identifier text not null, expires timestamptz not null,
  token text not null, primary key (identifier, token));
create table accounts (id serial primary key, "userId" integer not null,
  type varchar(255) not null, provider varchar(255) not null,
  "providerAccountId" varchar(255) not null, refresh_token text, access_token text,
  expires_at bigint);
create table sessions (id serial primary key, "userId" integer not null,
  expires timestamptz not null, "sessionToken" varchar(255) not null);
create table users (id serial primary key, name varchar(255), email varchar(255),
  "emailVerified" timestamptz, image text);
"""

ADAPTERS: Final = {
    adapter.name: adapter
    for adapter in (
        Adapter(
            "prisma",
            """
create table "Account" (id text primary key, "userId" text not null, type text not null,
  provider text not null, "providerAccountId" text not null, expires_at integer);
create table "Session" (id text not null, "sessionToken" text not null, "userId" text not null,
  expires timestamp(3) not null, constraint "Session_pkey" primary key (id));
create table "User" (id text not null, name text, email text, "emailVerified" timestamp(3),
  image text, constraint "User_pkey" primary key (id));
create table "VerificationToken" (identifier text not null, token text not null,
  expires timestamp(3) not null);
create unique index "Session_sessionToken_key" on "Session"("sessionToken");
alter table "Session" add constraint "Session_userId_fkey" foreign key ("userId")
  references "User"(id) on delete cascade on update cascade;
""",
            '"Session"',
            '"User"',
            "sessionToken",
            "userId",
            "text",
            "utc",
            _TEXT_ID,
        ),
        Adapter(
            "prisma-snake",
            """
create table sessions (id text primary key, session_token text not null unique,
  user_id text not null, expires timestamp(3) not null);
create table users (id text primary key, name text, email text unique,
  email_verified timestamp(3), image text);
create table verificationtokens (identifier text not null, token text not null unique,
  expires timestamp(3) not null);
alter table sessions add foreign key (user_id) references users(id) on delete cascade;
""",
            "sessions",
            "users",
            "session_token",
            "user_id",
            "text",
            "utc",
            _TEXT_ID,
        ),
        Adapter(
            "drizzle",
            """
create table "user" (id text primary key not null, name text, email text unique,
  "emailVerified" timestamp, image text);
create table "session" ("sessionToken" text primary key not null, "userId" text not null
  references "user"(id) on delete cascade, expires timestamp not null);
create table authenticator ("credentialID" text unique, "userId" text not null
  references "user"(id), "providerAccountId" text not null);
""",
            '"session"',
            '"user"',
            "sessionToken",
            "userId",
            "text",
            "utc",
        ),
        Adapter(
            "create-t3-app",
            """
create table "acme_user" (id varchar(255) primary key not null, name varchar(255),
  email varchar(255) not null, email_verified timestamptz default now(), image varchar(255));
create table "acme_session" ("sessionToken" varchar(255) primary key not null,
  "userId" varchar(255) not null references "acme_user"(id), expires timestamptz not null);
create table "acme_post" (id integer primary key, "createdById" varchar(255) not null
  references "acme_user"(id));
create index t_user_id_idx on "acme_session"("userId");
""",
            '"acme_session"',
            '"acme_user"',
            "sessionToken",
            "userId",
            "text",
            "instant",
        ),
        Adapter(
            "supabase",
            """
create schema next_auth;
create table next_auth.users (id uuid not null default gen_random_uuid() primary key, name text,
  email text unique, "emailVerified" timestamptz, image text);
create table next_auth.sessions (id uuid not null default gen_random_uuid() primary key,
  expires timestamptz not null, "sessionToken" text not null unique, "userId" uuid
  references next_auth.users (id) match simple on delete cascade);
create schema auth;
create table auth.users (id uuid primary key, email varchar(255));
create table auth.sessions (id uuid primary key, user_id uuid not null references auth.users (id),
  not_after timestamptz);
create table public.users (id uuid primary key references next_auth.users (id), name text,
  email text, image text);
""",
            "next_auth.sessions",
            "next_auth.users",
            "sessionToken",
            "userId",
            "uuid",
            "instant",
        ),
        Adapter("pg", _PG, "sessions", "users", "sessionToken", "userId", "int", "instant"),
        Adapter("neon", _PG, "sessions", "users", "sessionToken", "userId", "int", "instant"),
        Adapter(
            "kysely",
            """
create table "User" (id uuid primary key default gen_random_uuid(), name text, email text unique,
  "emailVerified" timestamptz, image text);
create table "Session" (id uuid primary key default gen_random_uuid(), "userId" uuid not null
  references "User"(id) on delete cascade, "sessionToken" text not null unique,
  expires timestamptz not null);
create index "Session_userId_index" on "Session"("userId");
""",
            '"Session"',
            '"User"',
            "sessionToken",
            "userId",
            "uuid",
            "instant",
        ),
        Adapter(
            "hasura",
            """
create table users (id uuid primary key default gen_random_uuid(), name text,
  email text not null unique, "emailVerified" timestamptz, image text);
create table sessions ("sessionToken" text not null primary key, "userId" uuid not null
  references users(id) on delete cascade, expires timestamptz not null);
create table provider_type (value text primary key);
""",
            "sessions",
            "users",
            "sessionToken",
            "userId",
            "uuid",
            "instant",
        ),
        Adapter(
            "typeorm",
            """
create table users (id uuid not null default gen_random_uuid() primary key, name varchar,
  email varchar unique, "emailVerified" varchar, image varchar);
create table sessions (id uuid not null default gen_random_uuid() primary key,
  "sessionToken" varchar not null unique, "userId" uuid not null references users(id),
  expires varchar not null);
create table verification_tokens (id uuid primary key default gen_random_uuid(),
  token varchar not null, identifier varchar not null, expires varchar not null);
""",
            "sessions",
            "users",
            "sessionToken",
            "userId",
            "uuid",
            "milliseconds",
        ),
        Adapter(
            "sequelize",
            """
create table users (id uuid primary key, name varchar(255), email varchar(255) unique,
  email_verified timestamptz, image varchar(255));
create table sessions (id uuid primary key, expires timestamptz not null,
  session_token varchar(255) not null unique, user_id uuid references users(id));
""",
            "sessions",
            "users",
            "session_token",
            "user_id",
            "uuid",
            "instant",
            "gen_random_uuid()",
        ),
        Adapter(
            "mikro-orm",
            """
create table "user" (id varchar(255) primary key, name varchar(255) null,
  email varchar(255) null unique, email_verified timestamptz null, image varchar(255) null);
create table session (id varchar(255) primary key, user_id varchar(255) not null
  references "user"(id), expires timestamptz(0) not null, session_token varchar(255) not null
  unique);
""",
            "session",
            '"user"',
            "session_token",
            "user_id",
            "text",
            "instant",
            _TEXT_ID,
        ),
        Adapter(
            "typeorm-legacy",
            """
create table users (id serial primary key, name varchar, email varchar unique,
  email_verified timestamptz, image varchar, created_at timestamptz default now());
create table sessions (id serial primary key, user_id integer not null,
  expires timestamptz not null, session_token varchar not null unique,
  access_token varchar not null unique default gen_random_uuid());
create table accounts (id serial primary key, compound_id varchar not null, user_id integer);
""",
            "sessions",
            "users",
            "session_token",
            "user_id",
            "int",
            "instant",
        ),
    )
}
"""By name, in the order of their downloads."""

STRANGERS: Final = {
    "better-auth": """
create table "user" (id text primary key, name text not null, email text not null unique,
  "emailVerified" boolean not null, image text, "createdAt" timestamptz default now());
create table "session" (id text primary key, "expiresAt" timestamptz not null,
  token text not null unique, "createdAt" timestamptz default now(), "ipAddress" text,
  "userAgent" text, "userId" text not null references "user"(id) on delete cascade);
""",
    "better-auth-drizzle": """
create table "user" (id text primary key, name text not null, email text not null unique,
  email_verified boolean default false not null, image text);
create table "session" (id text primary key, expires_at timestamp not null,
  token text not null unique, user_id text not null references "user"(id));
""",
    "connect-pg-simple": """
create table "session" (sid varchar not null primary key, sess json not null,
  expire timestamp(6) not null);
create table users (id serial primary key, email text);
""",
    "django": """
create table django_session (session_key varchar(40) primary key, session_data text not null,
  expire_date timestamptz not null);
create table auth_user (id serial primary key, email varchar(254) not null);
""",
}
"""Tables of others, whose sessions are no sessions of Auth.js."""
