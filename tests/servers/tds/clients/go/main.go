// go-mssqldb: `client PORT MODE CA SA_PASSWORD STATEMENTS`.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"net/url"
	"os"
	"strings"

	_ "github.com/microsoft/go-mssqldb"
)

func connect(user, password string) *sql.DB {
	words := map[string]string{"none": "disable", "login": "false", "tls": "true", "strict": "strict"}
	query := url.Values{"database": {"master"}, "encrypt": {words[os.Args[2]]}, "certificate": {os.Args[3]}, "hostNameInCertificate": {"localhost"}}
	at := url.URL{Scheme: "sqlserver", User: url.UserPassword(user, password), Host: "localhost:" + os.Args[1], RawQuery: query.Encode()}
	db, err := sql.Open("sqlserver", at.String())
	if err != nil {
		log.Fatal(err)
	}
	return db
}

func main() {
	db := connect("sa", os.Args[4])
	text, err := os.ReadFile(os.Args[5])
	if err != nil {
		log.Fatal(err)
	}
	for _, statement := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		rows, err := db.Query(statement)
		if err != nil {
			log.Fatal(statement, ": ", err)
		}
		for rows.Next() {
			columns, _ := rows.Columns()
			values := make([]any, len(columns))
			for at := range values {
				values[at] = new(any)
			}
			if err := rows.Scan(values...); err != nil {
				log.Fatal(err)
			}
		}
		if rows.Err() != nil {
			log.Fatal(statement, ": ", rows.Err())
		}
	}
	var echo, name string
	if err := db.QueryRow("SELECT @p1", "it's \u20ac").Scan(&echo); err != nil || echo != "it's \u20ac" {
		log.Fatal(echo, err)
	}
	if err := connect("it's", "Second'2-Pass").QueryRow("SELECT SUSER_SNAME()").Scan(&name); err != nil || name != "it's" {
		log.Fatal(name, err)
	}
	err = connect("it's", "First-Pass-1").Ping()
	if err == nil || !strings.Contains(err.Error(), "Login failed for user") {
		log.Fatal("the old password: ", err)
	}
	fmt.Println("ok")
}
