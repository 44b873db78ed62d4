package managedidtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTokenFile_isLaidOutAsInAPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f, err := New(nil).NewTokenFile(dir, nil)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, "azure-identity-token"), f.Path)
		var last string
		for range 2 {
			link, err := os.Readlink(f.Path)
			require.NoError(t, err)
			require.Equal(t, filepath.Join("..data", "azure-identity-token"), link)
			data, err := os.Readlink(filepath.Join(dir, "..data"))
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(data, time.Now().UTC().Format("..2006_01_02_15_04_05.")), data)
			require.NotEqual(t, last, data)
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 3, "the old directory is gone, and so is ..data_tmp")
			info, err := os.Stat(f.Path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode())
			require.True(t, info.ModTime().Equal(time.Now()), "it follows the bubble's clock")

			last = data
			time.Sleep(48 * time.Minute)
			require.NoError(t, f.Rotate())
		}
	})
}

func TestTokenFile_holdsTheTokenOfAServiceAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(nil)
		f := newTokenFile(t, e, &TokenFileOptions{Issuer: "I", Subject: "system:serviceaccount:ns:sa", Audience: "A",
			Lifetime: 2 * time.Hour})
		parts := strings.Split(read(t, f.Path), ".")
		var header map[string]string
		require.NoError(t, decodePart(parts[0], &header))
		require.Equal(t, map[string]string{"alg": "RS256", "kid": keyID(&clusterKey().PublicKey)}, header)
		var c map[string]any
		require.NoError(t, decodePart(parts[1], &c))
		require.Regexp(t, "^"+guid+"$", c["jti"])
		delete(c, "jti")
		now := float64(time.Now().Unix())
		require.Equal(t, map[string]any{
			"aud": []any{"A"}, "iss": "I", "sub": "system:serviceaccount:ns:sa", "iat": now, "nbf": now,
			"exp": now + 7200,
			"kubernetes.io": map[string]any{
				"namespace":      "ns",
				"node":           map[string]any{"name": "emulator-node", "uid": stableGUID("node")},
				"pod":            map[string]any{"name": "emulator-pod", "uid": stableGUID("pod")},
				"serviceaccount": map[string]any{"name": "sa", "uid": stableGUID("system:serviceaccount:ns:sa")},
			},
		}, c)
	})
}

func TestTokenFile_rotates(t *testing.T) {
	f := newTokenFile(t, New(nil), nil)
	first := read(t, f.Path)
	require.NoError(t, f.Rotate())
	second := read(t, f.Path)
	require.True(t, first != second)
	for _, content := range []string{"", "garbage\n", first} {
		require.NoError(t, f.Write(content))
		require.True(t, content == read(t, f.Path))
	}
}

// As in a pod, a read may fail while the old directory is removed. It never returns a part of a token.
func TestTokenFile_isSwappedWhole(t *testing.T) {
	f := newTokenFile(t, New(nil), nil)
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for range 20 {
				if err := f.Write("whole"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for {
		content, err := os.ReadFile(f.Path)
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
			require.True(t, string(content) == "whole" || len(content) > 100)
		}
		select {
		case <-done:
			require.Equal(t, "whole", read(t, f.Path))
			return
		default:
		}
	}
}

func TestTokenFile_mayHaveExpired(t *testing.T) {
	e := New(nil)
	f := newTokenFile(t, e, &TokenFileOptions{Lifetime: -time.Minute})
	p, _ := refused(t, e, newExchange(t, e, withAssertion(read(t, f.Path))...))
	require.Equal(t, []int{700024}, p.Codes)
}

func TestTokenFile_saysWhyNot(t *testing.T) {
	e := New(nil)
	_, err := e.NewTokenFile(filepath.Join(t.TempDir(), "none"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Empty(t, e.Environ(Workload)["AZURE_FEDERATED_TOKEN_FILE"])

	dir := t.TempDir()
	f, err := e.NewTokenFile(dir, nil)
	require.NoError(t, err)
	data := filepath.Join(dir, "..data")
	require.NoError(t, os.Remove(data))
	require.NoError(t, os.Mkdir(data, 0o700))
	require.Error(t, f.Rotate())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "nothing new is left")
}

func TestTokenFile_takesAnothersPlace(t *testing.T) {
	e, dir := New(nil), t.TempDir()
	_, err := e.NewTokenFile(dir, nil)
	require.NoError(t, err)
	t.Chdir(dir)
	f, err := e.NewTokenFile(".", nil)
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(f.Path))
	requestToken(t, e, withAssertion(read(t, f.Path))...)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
}

func TestTokenFile_leavesAloneWhatIsNotItsOwn(t *testing.T) {
	dir, precious := t.TempDir(), t.TempDir()
	kept := filepath.Join(precious, "kept")
	require.NoError(t, os.WriteFile(kept, []byte("x"), 0o600))
	require.NoError(t, os.Symlink(precious, filepath.Join(dir, dataName)))
	_, err := New(nil).NewTokenFile(dir, nil)
	require.ErrorContains(t, err, "is no token file's directory")
	require.FileExists(t, kept)

	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, tokenFileName), []byte("stale"), 0o600))
	for range 2 {
		_, err = New(nil).NewTokenFile(dir, nil)
		require.ErrorIs(t, err, os.ErrExist)
	}
}
