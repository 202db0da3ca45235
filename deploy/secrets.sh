#!/bin/sh
# Makes the files of ./secrets that compose.yaml hands to the services. Files that are there stay as they are.
#
#   AUTH_SECRET=... ./secrets.sh     the secret of the web app; without it a new one is made, to try things out
#
# A container reads a file with the rights that it has here, and the services run as users of their own. So
# every file may be read by all, and the folder, which the containers do not see, by you alone.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets

write() { # NAME VALUE
    if [ ! -e "secrets/$1" ]; then
        printf '%s' "$2" >"secrets/$1.new"
        chmod 444 "secrets/$1.new"
        mv "secrets/$1.new" "secrets/$1"
        echo "made secrets/$1"
    fi
}

random() { # 32 bytes of the system's generator, in letters that no URL and no shell minds
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

write auth_secret "${AUTH_SECRET:-$(random)}"
write gatelodge_password "$(random)"
write postgres_password "$(random)"
