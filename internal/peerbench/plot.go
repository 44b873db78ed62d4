package main

import (
	"bytes"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// curve is one line of a plot.
type curve struct {
	name   string
	points plotter.XYs
}

// look tells lines apart by more than their colour (Okabe and Ito's, which colour-blind people can tell apart).
type look struct {
	color  color.Color
	glyph  draw.GlyphDrawer
	dashes []vg.Length
}

var looks = []look{
	{color.RGBA{A: 255}, draw.PlusGlyph{}, []vg.Length{vg.Points(2), vg.Points(2)}},
	{color.RGBA{R: 0, G: 114, B: 178, A: 255}, draw.CircleGlyph{}, nil},
	{color.RGBA{R: 213, G: 94, B: 0, A: 255}, draw.SquareGlyph{}, nil},
	{color.RGBA{R: 0, G: 158, B: 115, A: 255}, draw.TriangleGlyph{}, []vg.Length{vg.Points(6), vg.Points(3)}},
	{color.RGBA{R: 204, G: 121, B: 167, A: 255}, draw.CrossGlyph{}, []vg.Length{vg.Points(1), vg.Points(3)}},
}

// lookOf keeps a library's look the same in all plots.
func lookOf(name string) look {
	for i, library := range []string{floors, ours, theirs, msal, reuse} {
		if library == name {
			return looks[i]
		}
	}
	return looks[0]
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	sans := font.Font{Typeface: "Liberation", Variant: "Sans"}
	for _, style := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		size := style.Size
		*style = sans
		style.Size = size
	}
	p.Title.Padding = vg.Points(8)
	p.Legend.Padding = vg.Points(2)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 225}, color.Gray{Y: 225}
	p.Add(grid)
	return p
}

// logarithmic draws both axes in decades, each with a label.
func logarithmic(p *plot.Plot, x, y plot.ConstantTicks) {
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = x, y
	p.X.Min, p.X.Max = x[0].Value, x[len(x)-1].Value
	p.Y.Min, p.Y.Max = y[0].Value, y[len(y)-1].Value
}

func addCurves(p *plot.Plot, curves []curve) error {
	for _, c := range curves {
		line, points, err := plotter.NewLinePoints(c.points)
		if err != nil {
			return err
		}
		l := lookOf(c.name)
		line.Color, line.Dashes, line.Width = l.color, l.dashes, vg.Points(1.5)
		points.Color, points.Shape, points.Radius = l.color, l.glyph, vg.Points(3.5)
		p.Add(line, points)
		p.Legend.Add(c.name, line, points)
	}
	return nil
}

// save writes an SVG, the plots one below the other. It names fonts which viewers have: Arial's measures are
// Liberation's.
func save(path string, plots ...*plot.Plot) error {
	width, height := 7*vg.Inch, 4*vg.Inch
	whole := height
	if len(plots) > 1 {
		whole = height * 3 / 4 * vg.Length(len(plots))
	}
	c := vgsvg.NewWith(vgsvg.UseWH(width, whole))
	c.SetColor(color.White)
	c.Fill(vg.Rectangle{Max: vg.Point{X: width, Y: whole}}.Path())
	each := whole / vg.Length(len(plots))
	for i, p := range plots {
		below := each * vg.Length(len(plots)-1-i)
		// half a label stands out on the right
		p.Draw(draw.Crop(draw.New(c), vg.Points(4), -vg.Points(24), below+vg.Points(4), below+each-whole-vg.Points(6)))
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, svg, 0o644)
}
