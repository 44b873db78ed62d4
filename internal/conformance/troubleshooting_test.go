package conformance

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/managedid/managedid"
	"github.com/managedid/managedid/internal/testkit"
)

// noErrors are the texts with a blank that are in no error: names, records, and what is looked for in answers.
var noErrors = []string{
	"App Service", "Azure Arc", "Azure ML", "Cloud Shell", "Service Fabric", "client ID", "object ID", "resource ID", "the host's default",
	"not an object", "credential chosen", "token received", "token request failed", "token refresh failed", "endpoint throttled", "try failed",
	"the host's default identity", "application … in tenant …", "the signed-in user", "the application's identity", "the account that is signed in to …",
	"in tenant …", "client ID …", "IDENTITY_ENDPOINT and IDENTITY_HEADER are set", "IDENTITY_ENDPOINT and IMDS_ENDPOINT are set", "MSI_ENDPOINT is set",
	"MSI_ENDPOINT and MSI_SECRET are set", "IDENTITY_ENDPOINT, IDENTITY_HEADER and IDENTITY_SERVER_THUMBPRINT are set", "the file … is there",
	"the links before the chosen credential are asked again, since one of them had said nothing", "the slog handler …",
	"the flight made no try since the caller came", "the try gave up its place", "the request can't be copied: …",
	"nothing shows another source", "the Source in the options", "caller left without a token",
	"(not a path, so not shown)", "(not an ID, so not shown)",
	"Basic realm=", "Current time", "Trace ID", "identity not found", "multiple user assigned", "unknown flag: --claims",
	"EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "RSA PRIVATE KEY", "pkcs12: error reading P12 data",
	"certificate file … … …",
}

const troubleshooting = "docs/troubleshooting.md"

// The page is the golden file of the errors: a text that isn't on it, and one that is on it alone, fail.
func TestTroubleshooting_hasEveryErrorWithItsCauseAndRemedy(t *testing.T) {
	testkit.AtRoot(t)
	onPage, section, sections := slices.Clone(noErrors), "", map[string]string{}
	for line := range strings.Lines(read(t, troubleshooting)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.ToLower(strings.TrimSpace(heading))
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		require.Len(t, cells, 3, line)
		for _, cell := range cells {
			require.NotEmpty(t, strings.TrimSpace(cell), line)
		}
		text := strings.Trim(cells[0], " `")
		require.False(t, slices.Contains(onPage, text), "%q is there twice", text)
		onPage, sections[text] = append(onPage, text), section
	}
	var missing, stale []string
	inSources, reasons := sourceTexts(t)
	for text, position := range inSources {
		if !slices.Contains(onPage, text) {
			missing = append(missing, position+": "+text)
		}
	}
	for _, text := range onPage {
		if inSources[text] == "" {
			stale = append(stale, text)
		}
	}
	require.Empty(t, missing, "add these to %s, or to noErrors", troubleshooting)
	require.Empty(t, stale, "no error says these any more")
	require.Greater(t, len(reasons), 30)
	for text, reason := range reasons {
		require.Equal(t, strings.ReplaceAll(reason, "_", " "), sections[text], text)
	}
}

func TestTroubleshooting_linksLeadToSections(t *testing.T) {
	testkit.AtRoot(t)
	anchors := anchorsOf(read(t, troubleshooting))
	named := regexp.MustCompile(`troubleshooting\.md#([\w-]+)`)
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if ext := filepath.Ext(path); err == nil && !d.IsDir() && (ext == ".go" || ext == ".md") {
			for _, m := range named.FindAllStringSubmatch(read(t, path), -1) {
				require.Contains(t, anchors, m[1], path)
			}
		}
		return err
	}))
	pkg, _, _, _ := check(t, ".")
	reasons := []string{""}
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && c.Type().String() == "managedid.Reason" {
			reasons = append(reasons, constant.StringVal(c.Val()))
		}
	}
	require.Len(t, reasons, 11)
	for _, r := range reasons {
		address, anchor, _ := strings.Cut(managedid.Reason(r).Help(), "#")
		require.Equal(t, "https://github.com/managedid/managedid/blob/v0.1.0/"+troubleshooting, address)
		require.Contains(t, anchors, anchor, r)
	}
}

// anchorsOf makes GitHub's anchors of a page's headings.
func anchorsOf(page string) (anchors []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		slug := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(slug, " ", "-"))
	}
	return anchors
}

func read(t *testing.T, path string) string {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")))
}

// check parses the package. Of what it imports nothing is known, which is all the same to its own constants.
func check(t *testing.T, dir string) (*types.Package, *token.FileSet, []*ast.File, *types.Info) {
	fset, info := token.NewFileSet(), &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	var files []*ast.File
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") && name != "explain.go" && name != "probe.go" { // whose texts are in no error
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			files = append(files, f)
		}
	}
	pkg, _ := (&types.Config{Error: func(error) {}, Importer: noImports{}}).Check(cmp.Or(strings.Trim(dir, "."), "managedid"), fset, files, info)
	return pkg, fset, files, info
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, fs.ErrNotExist }

var (
	who       = regexp.MustCompile(`^(…|managedid|\w+Credential): `)
	sentence  = regexp.MustCompile(`[\w')],? +(--)?[A-Za-z]`)
	formatted = regexp.MustCompile(`%[a-zA-Z]`)
)

// sourceTexts returns the texts of the package, and of those that make its texts, that have a blank between two words, whatever is made of them, with their positions.
// What isn't constant in them is "…". Where one stands beside a Reason, it returns that too.
func sourceTexts(t *testing.T) (texts, reasons map[string]string) {
	texts, reasons = map[string]string{}, map[string]string{}
	for _, dir := range []string{".", "internal/answer", "internal/certs", "internal/files", "internal/text"} {
		addTexts(t, dir, texts, reasons)
	}
	return texts, reasons
}

func addTexts(t *testing.T, dir string, texts, reasons map[string]string) {
	_, fset, files, info := check(t, dir)
	for _, f := range files {
		seen := map[ast.Node]bool{} // as parts of a longer text
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec, *ast.Field:
				return false
			case *ast.CompositeLit:
				if text, reason := together(n, info); text != "" && reason != "…" {
					reasons[text] = reason
				}
			case *ast.BasicLit, *ast.BinaryExpr, *ast.CallExpr:
				if v := info.Types[n.(ast.Expr)]; seen[n] || v.Type != nil && v.Type.String() == "managedid.Reason" {
					return true
				}
				if text := textOf(n.(ast.Expr), info, seen); text != "" {
					texts[text] = fset.Position(n.Pos()).String()
				}
			}
			return true
		})
	}
}

// together returns the text and the reason of a verdict or an error.
func together(lit *ast.CompositeLit, info *types.Info) (text, reason string) {
	reason = "no reason"
	for _, element := range lit.Elts {
		if kv, ok := element.(*ast.KeyValueExpr); ok {
			switch key, _ := kv.Key.(*ast.Ident); {
			case key == nil:
			case key.Name == "advice", key.Name == "message":
				text = textOf(kv.Value, info, map[ast.Node]bool{})
			case key.Name == "reason", key.Name == "Reason":
				reason = render(kv.Value, info, map[ast.Node]bool{})
			}
		}
	}
	return text, reason
}

// textOf returns a text without the credential's name, "" where it isn't one.
func textOf(e ast.Expr, info *types.Info, seen map[ast.Node]bool) string {
	text := strings.Trim(who.ReplaceAllString(render(e, info, seen), ""), " ;,:")
	if !sentence.MatchString(strings.ReplaceAll(text, "…", "")) {
		return ""
	}
	return text
}

// render returns what is known of a string.
func render(e ast.Expr, info *types.Info, seen map[ast.Node]bool) string {
	seen[e] = true
	switch e := e.(type) {
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return render(e.X, info, seen) + render(e.Y, info, seen)
		}
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "Errorf" || f.Sel.Name == "Sprintf") {
			args := e.Args[1:]
			return formatted.ReplaceAllStringFunc(render(e.Args[0], info, seen), func(string) (arg string) {
				arg, args = render(args[0], info, seen), args[1:]
				return arg
			})
		}
	}
	if v := info.Types[e].Value; v != nil && v.Kind() == constant.String {
		return constant.StringVal(v)
	}
	return "…"
}
