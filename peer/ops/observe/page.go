package observe

import (
	"bytes"
	_ "embed" // the page is part of the program
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// pageTemplate is parsed at the first request, so that a peer without readers does not pay for it.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(pageHTML))
})

const (
	// maxColumns is how many members the matrix has room for. In a larger group, a list names the members
	// that do not hear another.
	maxColumns = 40
	// maxNamed is up to how many columns have names above them; more have ids.
	maxNamed = 12
	// maxRoomy is up to how many hosts the table is roomy, and in the order of their ids; of more, those with problems
	// come first.
	maxRoomy = 12
	// maxLines bounds the timeline.
	maxLines = 60
)

// page is what the template shows.
type page struct {
	*statusJSON
	Build      string
	LeaderName string
	Quorum     string
	Lacks      bool   // hosts are missing
	Lacking    string // which
	Dense      bool   // the table has many rows
	Stored     string // "" if it stores nothing
	Rows       []row
	Matrix     []matrixRow
	Unheard    []string // sentences: one member does not hear another
	Timeline   []moment
}

// row is a host in the table.
type row struct {
	hostJSON
	Leads                   bool
	Class, Mark, Words, Ago string
	Where                   string
}

// matrixRow is the members that one member hears; Head stands above its column.
type matrixRow struct {
	Name  string
	Head  string
	Cells []cell
}

type cell struct{ Class, Mark, Words string }

// moment is an event in the timeline; Key tells it from the others.
type moment struct{ Key, Class, Datetime, Clock, Title, Words string }

// marks show the state of a host without colour.
var marks = map[string]struct{ mark, words string }{
	"self":        {"●", "this peer"},
	"present":     {"●", "heard"},
	"silent":      {"◐", "silent, being probed"},
	"unanswering": {"◐", "heard, but does not answer its leader"},
	"unreachable": {"✕", "unreachable"},
	"removed":     {"○", "removed"},
	"left":        {"○", "left"},
	"expelled":    {"○", "expelled"},
	"retired":     {"–", "retired"},
	"absent":      {"○", "never was a member"},
	"unknown":     {"?", "unknown"},
}

func asset(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Write([]byte(text))
	}
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	var b bytes.Buffer
	if err := pageTemplate().Execute(&b, s.newPage()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(b.Bytes())
}

func (s *Server) newPage() *page {
	p := &page{statusJSON: s.report(), Build: s.config.Build, LeaderName: "none"}
	p.Stored = p.Peer.stored()
	led := p.led()
	if led {
		p.LeaderName = s.config.Names.name(p.Follows)
	}
	p.Dense = len(p.Hosts) > maxRoomy
	for i := range p.Hosts {
		p.Rows = append(p.Rows, s.row(&p.Hosts[i], led && p.Hosts[i].ID == p.Follows))
	}
	if p.Dense {
		slices.SortStableFunc(p.Rows, func(a, b row) int { return byTrouble(&a.hostJSON, &b.hostJSON) })
	}
	if v := p.View; v != nil {
		p.Quorum = v.quorum(s.config.Names.name(v.Leader))
		missing := lacking(p.statusJSON)
		p.Lacks, p.Lacking = len(missing) > 0, briefly(missing)
		s.relate(p)
	}
	p.Timeline = s.timeline()
	return p
}

// row is a host, which leads or does not, as the table shows it.
func (s *Server) row(h *hostJSON, leads bool) row {
	m := marks[h.State]
	r := row{hostJSON: *h, Leads: leads, Class: h.State, Mark: m.mark, Words: m.words, Ago: "–", Where: strings.Join(h.Addresses, ", ")}
	switch {
	case h.belongs() && !h.Member && h.State != "unknown":
		r.Class += " missing"
	case h.troubled() && h.Member && h.State != handlers.Gone.String():
		r.Class += " troubled"
	}
	if words := h.beside(); words != "" {
		r.Words += ", " + words
	}
	if unheard := h.unheard(); len(unheard) == 1 {
		r.Words += ", does not hear " + s.config.Names.name(unheard[0])
	} else if len(unheard) > 1 {
		r.Words += fmt.Sprintf(", does not hear %d", len(unheard))
	}
	if h.Heard != nil {
		r.Ago = fmt.Sprintf("%.1f s ago", *h.Heard)
	}
	return r
}

// relate fills in which members hear which.
func (s *Server) relate(p *page) {
	members := slices.Sorted(slices.Values(p.View.Members))
	for _, id := range members {
		host := &p.Hosts[id-1]
		r := matrixRow{Name: host.Name, Head: host.Name}
		if len(members) > maxNamed {
			r.Head = strconv.Itoa(int(id))
			r.Name = r.Head + " " + r.Name
		}
		for _, other := range members {
			c := s.cell(p.statusJSON, host, other)
			if r.Cells = append(r.Cells, c); c.Class == "no" {
				p.Unheard = append(p.Unheard, c.Words)
			}
		}
		if len(members) <= maxColumns {
			p.Matrix = append(p.Matrix, r)
		}
	}
}

func (s *Server) cell(r *statusJSON, host *hostJSON, other types.ID) cell {
	hears, known := r.hears(host, other)
	name := s.config.Names.name(other)
	switch {
	case host.ID == other:
		return cell{"own", "·", "itself"}
	case !known:
		return cell{"unknown", "?", "unknown whether " + host.Name + " hears " + name}
	case hears:
		return cell{"yes", "✓", "hears " + name}
	}
	return cell{"no", "✕", host.Name + " does not hear " + name}
}

// timeline returns what happened, the latest first.
func (s *Server) timeline() []moment {
	if s.peer.Status() == nil {
		return nil
	}
	events, last, _ := s.peer.Events().After(0)
	var moments []moment
	for i := len(events) - 1; i >= 0 && len(moments) < maxLines; i-- {
		m := s.moment(&events[i])
		m.Key = s.eventID(last + 1 - uint64(len(events)-i))
		moments = append(moments, m)
	}
	return moments
}

// shortClock formats a time to the minute for a reader now: with the date, unless that is today.
func shortClock(at, now time.Time) string {
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}

// clock formats a time for a reader now: with the date, unless that is today.
func clock(at, now time.Time) string {
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04:05.000 MST")
	}
	return at.Format("2006-01-02 15:04:05.000 MST")
}

func (s *Server) moment(e *handlers.Event) moment {
	at := time.Unix(0, e.At.Wall)
	m := moment{Class: e.Kind.String(), Datetime: at.Format(time.RFC3339Nano), Clock: clock(at, time.Now()), Words: s.config.Names.event(e)}
	switch {
	case e.Kind == handlers.Installed:
		m.Title = fmt.Sprintf("View %d: %s.", e.View, s.config.Names.list(e.Members))
	case e.Kind == handlers.Failed:
		m.Title = "Failure."
	case e.Kind == handlers.Leads:
		m.Title = "Leads."
	case e.Kind == handlers.Ceased:
		m.Title = "Leads no longer."
	case e.Kind == handlers.Halted && e.Halt == handlers.Going:
		m.Class, m.Title = "going", "Makes progress again."
	case e.Kind == handlers.Halted && e.Halt == handlers.NotStoring:
		m.Title = "Does not store."
	case e.Kind == handlers.Halted && e.Halt != handlers.LeavesView:
		m.Title = "Cannot make progress."
	}
	return m
}
