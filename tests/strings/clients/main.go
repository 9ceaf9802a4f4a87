// Logs in by connection strings: each line of standard input is a client and a string in base64; each answer one line.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	_ "github.com/lib/pq"
	_ "github.com/microsoft/go-mssqldb"
	"github.com/redis/go-redis/v9"
)

func bySQL(driver string) func(context.Context, string) error {
	return func(deadline context.Context, text string) error {
		pool, err := sql.Open(driver, text)
		if err != nil {
			return err
		}
		defer pool.Close()
		return pool.PingContext(deadline)
	}
}

func byPgx(deadline context.Context, text string) error {
	session, err := pgx.Connect(deadline, text)
	if err != nil {
		return err
	}
	defer session.Close(deadline)
	_, err = session.Exec(deadline, "SELECT 1")
	return err
}

// The string chooses it by `tls=own`.
func byMySQL(deadline context.Context, text string) error {
	options, err := trusting()
	if err == nil {
		err = mysql.RegisterTLSConfig("own", options)
	}
	if err != nil {
		return err
	}
	return bySQL("mysql")(deadline, text)
}

func trusting() (*tls.Config, error) {
	pem, err := os.ReadFile(os.Args[1])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}, nil
}

func byRedis(deadline context.Context, text string) error {
	options, err := redis.ParseURL(text)
	if err != nil {
		return err
	}
	if options.TLSConfig, err = trusting(); err != nil {
		return err
	}
	options.MaxRetries = -1
	session := redis.NewClient(options)
	defer session.Close()
	return session.Ping(deadline).Err()
}

func main() {
	clients := map[string]func(context.Context, string) error{
		"pgx": byPgx, "lib-pq": bySQL("postgres"), "go-mssqldb": bySQL("sqlserver"), "go-redis": byRedis,
		"go-sql-driver": byMySQL,
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		client, encoded, _ := strings.Cut(lines.Text(), " ")
		text, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil {
			deadline, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			err = clients[client](deadline, string(text))
			cancel()
		}
		if err == nil {
			fmt.Println("ok")
		} else {
			fmt.Println("no", strings.Join(strings.Fields(err.Error()), " "))
		}
	}
}
