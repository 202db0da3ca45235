// The site of tests/support/backends.py on Go: `main PORT PORT`, for net/http's ServeMux and for a handler
// that cleans the path by itself, as http.FileServer does.
package main

import (
	"log"
	"net/http"
	"os"
	"path"
	"regexp"
)

var guarded = regexp.MustCompile(`(?s)^/(admin|users/[^/]+/admin)(/.*)?$`)
var open = regexp.MustCompile(`(?s)^/(public|users)(/.*)?$`)

func serve(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Handler", name) }
}

func byPath(w http.ResponseWriter, name string) {
	switch {
	case guarded.MatchString(name):
		w.Header().Set("X-Handler", "guarded")
	case open.MatchString(name):
		w.Header().Set("X-Handler", "open")
	default:
		w.Header().Set("X-Handler", "nothing")
	}
}

func main() {
	mux := http.NewServeMux()
	for _, name := range []string{"/admin", "/admin/"} {
		mux.HandleFunc(name, serve("guarded"))
	}
	for _, name := range []string{"/public", "/public/", "/users"} {
		mux.HandleFunc(name, serve("open"))
	}
	mux.HandleFunc("/users/", func(w http.ResponseWriter, r *http.Request) { byPath(w, r.URL.Path) })
	mux.HandleFunc("/", serve("nothing"))
	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux)) }()
	cleaning := func(w http.ResponseWriter, r *http.Request) { byPath(w, path.Clean("/"+r.URL.Path)) }
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], http.HandlerFunc(cleaning)))
}
