// pgx. README.md says what it does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

type sight struct {
	Acknowledged int            `json:"acknowledged"`
	Errors       map[string]int `json:"errors"`
	Wrong        []string       `json:"wrong"`
}

var (
	mutex sync.Mutex
	seen  map[string]*sight
)

func clear() {
	seen = map[string]*sight{}
	for _, way := range []string{"direct", "pooled"} {
		seen[way] = &sight{Errors: map[string]int{}, Wrong: []string{}}
	}
}

func with(way string, change func(*sight)) {
	mutex.Lock()
	defer mutex.Unlock()
	change(seen[way])
}

func turn(conn *pgx.Conn, driver, way string, client, n int) error {
	var got string
	question := fmt.Sprintf("select 'client %d ' || $1::int", client)
	if err := conn.QueryRow(context.Background(), question, n).Scan(&got); err != nil {
		return err
	}
	if wanted := fmt.Sprintf("client %d %d", client, n); got != wanted {
		with(way, func(s *sight) { s.Wrong = append(s.Wrong, got+" for "+wanted) })
	}
	return conn.BeginFunc(context.Background(), func(tx pgx.Tx) error {
		_, err := tx.Exec(context.Background(), "insert into driven values ($1, $2, $3, $4)",
			driver, way, client, n)
		return err
	})
}

func failed(way string, err error) {
	name := err.Error()
	var report *pgconn.PgError
	if errors.As(err, &report) {
		name = report.Code + ": " + report.Message
	}
	with(way, func(s *sight) { s.Errors[name]++ })
}

func run(driver, dsn, way string, client int) {
	var conn *pgx.Conn
	for n := 1; ; n++ {
		var err error
		if conn == nil {
			conn, err = pgx.Connect(context.Background(), dsn)
		}
		if err == nil {
			err = turn(conn, driver, way, client, n)
		}
		if err == nil {
			with(way, func(s *sight) { s.Acknowledged++ })
		} else {
			failed(way, err)
			if conn != nil {
				conn.Close(context.Background())
			}
			conn = nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func main() {
	driver, host, port, pooled, endpoint, user, database := os.Args[1], os.Args[2], os.Args[3],
		os.Args[4], os.Args[5], os.Args[6], os.Args[7]
	clear()
	dsn := fmt.Sprintf("host=%s user=%s dbname=%s connect_timeout=30", host, user, database)
	for client := 1; client <= 2; client++ {
		go run(driver, dsn+" port="+port, "direct", client)
		go run(driver, dsn+" port="+pooled+" options='-c trunkline.endpoint="+endpoint+"'",
			"pooled", client)
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		mutex.Lock()
		report, _ := json.Marshal(seen)
		clear()
		mutex.Unlock()
		fmt.Println(string(report))
	}
}
