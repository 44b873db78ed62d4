package files

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// write makes a file in a new folder.
func write(t *testing.T, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// link makes a symbolic link in a new folder.
func link(t *testing.T, target string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, path); err != nil {
		t.Skip("no symbolic links can be made here: " + err.Error())
	}
	return path
}

// readers are both functions that read a file.
var readers = map[string]func(path string, limit int64) ([]byte, error){"Read": Read, "ReadUnlinked": ReadUnlinked}

func TestRead_atMostTheLimit(t *testing.T) {
	for _, row := range []struct {
		name  string
		size  int
		limit int64
		want  string // the error
	}{
		{"nothing", 0, 4, ""},
		{"less", 3, 4, ""},
		{"all", 4, 4, ""},
		{"a byte more", 5, 4, "it is larger than 4 bytes"},
		{"much more", 1 << 20, 4, "it is larger than 4 bytes"},
		{"nothing, where nothing is allowed", 0, 0, ""},
		{"a byte, where nothing is allowed", 1, 0, "it is larger than 0 bytes"},
		{"a large file", 1 << 20, 1 << 20, ""},
	} {
		for name, read := range readers {
			t.Run(name+", "+row.name, func(t *testing.T) {
				content := strings.Repeat("k", row.size)
				got, err := read(write(t, "file", content), row.limit)
				if row.want != "" {
					require.EqualError(t, err, row.want)
					require.LessOrEqual(t, int64(len(got)), row.limit+1, "no more is read than shows that it is too large")
					return
				}
				require.NoError(t, err)
				require.True(t, string(got) == content)
			})
		}
	}
}

func TestRead_refusesWhatIsNoFile(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			_, err := read(t.TempDir(), 4)
			require.EqualError(t, err, "it is not a regular file")
		})
	}
}

func TestRead_knowsAMissingFileAndDoesNotNameIt(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, path := range []string{filepath.Join(dir, "s3cr3t"), filepath.Join(dir, "s3cr3t", "s3cr3t")} {
				content, err := read(path, 4)
				require.ErrorIs(t, err, fs.ErrNotExist)
				require.NotContains(t, err.Error(), "s3cr3t")
				require.NotContains(t, err.Error(), dir)
				require.Empty(t, content)
			}
			_, err := read(filepath.Join(dir, strings.Repeat("n", 300)), 4)
			require.Error(t, err, "no name is so long")
			require.NotContains(t, err.Error(), "nnn")
		})
	}
}

// A key or token may be where its path should be. It is not looked for, though a file may have that name.
func TestRead_takesNoContentForAPath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	const key, jwt = "-----BEGIN PRIVATE KEY-----", "eyJh.eyJi.c2ln"
	for _, name := range []string{key, jwt} {
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	for _, path := range []string{key, jwt, key + "\nAAAA\n", "two\nlines", strings.Repeat("a", 401)} {
		content, err := Read(path, 4)
		require.EqualError(t, err, "it is not a path")
		require.Empty(t, content)
		content, err = ReadUnlinked(path, 4)
		require.Error(t, err)
		require.NotContains(t, err.Error(), path)
		require.Empty(t, content)
	}
}

func TestRead_followsALink(t *testing.T) {
	content, err := Read(link(t, write(t, "file", "abc")), 4)
	require.NoError(t, err)
	require.Equal(t, "abc", string(content))
	_, err = Read(link(t, "none"), 4)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestReadUnlinked_followsNoLink(t *testing.T) {
	inside := link(t, "real")
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(inside), "real"), []byte("abc"), 0o600))
	for _, row := range []struct{ name, path string }{
		{"to a file elsewhere", link(t, write(t, "file", "abc"))},
		{"to a file of the same folder", inside},
		{"to a folder", link(t, t.TempDir())},
		{"to nothing", link(t, "none")},
		{"to itself", link(t, "link")},
		{"to a link", link(t, link(t, write(t, "file", "abc")))},
	} {
		t.Run(row.name, func(t *testing.T) {
			content, err := ReadUnlinked(row.path, 4)
			require.EqualError(t, err, "it is not a regular file")
			require.Empty(t, content)
		})
	}
}

func TestReadUnlinked_followsALinkToTheFolder(t *testing.T) {
	folder := link(t, filepath.Dir(write(t, "file", "abc")))
	content, err := ReadUnlinked(filepath.Join(folder, "file"), 4)
	require.NoError(t, err)
	require.Equal(t, "abc", string(content))
}

func TestReadUnlinked_noticesAReplacement(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"seen", "other"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	seen, err := os.Lstat(filepath.Join(dir, "seen"))
	require.NoError(t, err)
	_, err = readSame(seen, filepath.Join(dir, "other"), 10)
	require.EqualError(t, err, "it was replaced while it was being opened")
	content, err := readSame(seen, filepath.Join(dir, "seen"), 10)
	require.NoError(t, err)
	require.Equal(t, "seen", string(content))
}

func TestExists_knowsWhatIsThere(t *testing.T) {
	file := write(t, "file", "")
	require.True(t, Exists(file))
	require.True(t, Exists(filepath.Dir(file)), "a folder is something")
	require.False(t, Exists(file+"2"))
	require.False(t, Exists(""))
	require.True(t, Exists(link(t, file)))
	require.False(t, Exists(link(t, "none")))
}

func TestAbsolute_staysTheSameElsewhere(t *testing.T) {
	file := write(t, "file", "abc")
	t.Chdir(filepath.Dir(file))
	dir, err := os.Getwd()
	require.NoError(t, err)
	path := Absolute("file")
	require.Equal(t, filepath.Join(dir, "file"), path)
	require.Equal(t, filepath.Join(dir, "file"), Absolute(filepath.Join("a", "..", ".", "file")))
	require.Equal(t, file, Absolute(file))
	t.Chdir(t.TempDir())
	require.True(t, Exists(path))
}
