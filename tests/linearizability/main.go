// Checks a history of S3 operations on single keys for linearizability, with porcupine.
//
// Usage: linearizability [-timeout 60s] [-visualize DIR] HISTORY
//
// HISTORY holds one JSON object a line (see operation). The exit code is 0 if every key's history is linearizable, 1 if
// one is not, 2 if the file can't be read, 3 if a check did not end in time.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is one call of a client and what came of it. States are ETags; "" means that the key has no object.
type operation struct {
	Key    string `json:"key"`
	Client int    `json:"client"`
	Op     string `json:"op"`    // put, delete, get
	Value  string `json:"value"` // put: the new ETag
	// Condition of a put: "" (none), "absent" (If-None-Match: *) or "match" (If-Match: Expect).
	Condition string `json:"condition"`
	Expect    string `json:"expect"`
	Call      int64  `json:"call"`
	Return    int64  `json:"return"`
	// Result: "done", "refused" (the condition did not hold), "unknown" (it may have come about, or may yet), or for
	// a get "value" with what was read in Value.
	Result string `json:"result"`
}

func (o operation) holds(state string) bool {
	switch o.Condition {
	case "absent":
		return state == ""
	case "match":
		return state != "" && state == o.Expect
	}
	return true
}

var model = porcupine.Model{
	Init: func() interface{} { return "" },
	Step: func(before, input, _ interface{}) (bool, interface{}) {
		state, o := before.(string), input.(operation)
		switch o.Op {
		case "get":
			return o.Value == state, state
		case "delete":
			return true, ""
		}
		switch {
		case o.Result == "unknown" && !o.holds(state):
			return true, state
		case o.Result == "refused":
			return !o.holds(state), state
		}
		return o.holds(state), o.Value
	},
	DescribeOperation: func(input, _ interface{}) string {
		o := input.(operation)
		return fmt.Sprintf("%s %.6s %s %.6s: %s", o.Op, o.Value, o.Condition, o.Expect, o.Result)
	},
}

func read(path string) (map[string][]porcupine.Operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	histories := map[string][]porcupine.Operation{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var o operation
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, err
		}
		end := o.Return
		if o.Result == "unknown" {
			end = math.MaxInt64
		}
		histories[o.Key] = append(histories[o.Key], porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: end})
	}
	return histories, lines.Err()
}

func main() {
	timeout := flag.Duration("timeout", time.Minute, "for each key")
	pictures := flag.String("visualize", "", "directory for pictures of what is wrong")
	flag.Parse()
	histories, err := read(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	keys := make([]string, 0, len(histories))
	for key := range histories {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	code, operations := 0, 0
	for _, key := range keys {
		operations += len(histories[key])
		result, info := porcupine.CheckOperationsVerbose(model, histories[key], *timeout)
		switch result {
		case porcupine.Illegal:
			fmt.Printf("%s: not linearizable (%d operations)\n", key, len(histories[key]))
			code = 1
			if *pictures != "" {
				path := filepath.Join(*pictures, filepath.Base(key)+".html")
				if err := porcupine.VisualizePath(model, info, path); err == nil {
					fmt.Println("  see", path)
				}
			}
		case porcupine.Unknown:
			fmt.Printf("%s: no answer within %s (%d operations)\n", key, *timeout, len(histories[key]))
			if code == 0 {
				code = 3
			}
		}
	}
	fmt.Printf("%d operations on %d keys checked\n", operations, len(keys))
	os.Exit(code)
}
