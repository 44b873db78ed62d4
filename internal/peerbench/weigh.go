package main

import (
	"debug/buildinfo"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid/managedidtest"
)

const (
	weightTitle = "Weight"
	overAzcore  = "over azcore's pipeline"
	overJSON    = "over the same that reads JSON"
	modules     = "linked modules"
	floorJSON   = "floor that reads JSON"
)

// programs are the folders of weight, by the table's row.
var programs = []struct{ name, folder string }{
	{floors, "floor"}, {floorJSON, "floorjson"}, {ours, "managedid"}, {ours + ", default chain", "managediddefault"},
	{theirs, "azidentity"}, {theirs + ", default chain", "azidentitydefault"}, {msal, "msal"},
}

// weigh builds the programs, stripped, and runs them.
func weigh(t *testing.T, out *table, o options) {
	s := out.section(weightTitle, "Programs that call one URL through azcore's pipeline with a BearerTokenPolicy, "+
		"built with -trimpath -ldflags \"-s -w\"; floor has its token already. KB are 1,000 bytes. A fresh process: "+
		"from its start through the first token, from App Service's endpoint on loopback, and one call, to its end; "+
		"minimum and median.",
		"stripped", overAzcore, overJSON, modules, "fresh process", "goroutines at rest")
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+string(filepath.Separator),
		"./weight/...")
	build.Stderr = os.Stderr
	require.NoError(t, build.Run())
	sizes := map[string]int64{}
	for _, p := range programs {
		info, err := os.Stat(filepath.Join(dir, p.folder))
		require.NoError(t, err)
		sizes[p.name] = info.Size()
	}
	taken, rest := runPrograms(t, dir, o.starts)
	for _, p := range programs {
		r := s.row(p.name)
		r.set("stripped", float64(sizes[p.name]), "%s KB", thousands(sizes[p.name]/1000))
		for column, base := range map[string]string{overAzcore: floors, overJSON: floorJSON} {
			more := sizes[p.name] - sizes[base]
			r.set(column, float64(more), "%s KB", thousands(more/1000))
		}
		info, err := buildinfo.ReadFile(filepath.Join(dir, p.folder))
		require.NoError(t, err)
		linked := 0
		for _, dep := range info.Deps {
			if !strings.HasPrefix(dep.Path, peerbench) {
				linked++
			}
		}
		r.set(modules, float64(linked), "%d", linked)
		r.set("fresh process", taken[p.name].median(), "%s, %s",
			nanos(taken[p.name].min()), nanos(taken[p.name].median()))
		r.set("goroutines at rest", float64(rest[p.name]), "%d", rest[p.name])
	}
}

// peerbench is this module, which every program belongs to.
const peerbench = "github.com/managedid/managedid/internal/peerbench"

// runPrograms starts each program once in each round.
func runPrograms(t *testing.T, dir string, n int) (taken map[string]sample, rest map[string]int) {
	srv := managedidtest.NewServer(nil)
	defer srv.Close()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()
	env := environ(srv)
	run := func(folder string, args ...string) (string, time.Duration) {
		cmd := exec.Command(filepath.Join(dir, folder), append([]string{api.URL}, args...)...)
		cmd.Env, cmd.Stderr = env, os.Stderr
		began := time.Now()
		printed, err := cmd.Output()
		require.NoError(t, err, folder)
		return strings.TrimSpace(string(printed)), time.Since(began)
	}
	taken, rest = map[string]sample{}, map[string]int{}
	for range n {
		for _, p := range programs {
			_, took := run(p.folder)
			taken[p.name] = append(taken[p.name], float64(took))
		}
	}
	for _, p := range programs {
		printed, _ := run(p.folder, "rest")
		var err error
		rest[p.name], err = strconv.Atoi(printed)
		require.NoError(t, err)
	}
	return taken, rest
}

// environ is this process's environment with an App Service host's variables; azidentity takes an empty variable for
// set.
func environ(srv *managedidtest.Server) []string {
	host := srv.Environ(managedidtest.AppService)
	host["AZURE_TOKEN_CREDENTIALS"] = "prod"
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, replaced := host[name]
		return replaced
	})
	for name, value := range host {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}
