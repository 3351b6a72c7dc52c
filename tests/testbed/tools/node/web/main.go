// A server to try a cluster with: it tells who it is, and asks another server on behalf of whoever asks it.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /{$}", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(answer, name)
	})
	// GET /ask?url=http://shop.example answers with what that address answers.
	client := http.Client{Timeout: 5 * time.Second}
	http.HandleFunc("GET /ask", func(answer http.ResponseWriter, request *http.Request) {
		found, err := client.Get(request.URL.Query().Get("url"))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadGateway)
			return
		}
		defer found.Body.Close()
		answer.WriteHeader(found.StatusCode)
		io.Copy(answer, found.Body)
	})
	log.Printf("%s listens on 8080", name)
	log.Fatal(http.ListenAndServe(":8080", nil))
}
