package observe

import (
	"fmt"
	"strings"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

const starting = "the peer has not begun yet"

// mostNames is how many hosts a sentence names.
const mostNames = 8

func (s *Server) name(id types.ID) string {
	if id < 1 || int(id) > len(s.config.Names) {
		return "nobody"
	}
	return s.config.Names[id-1]
}

// names lists hosts in a sentence.
func (s *Server) names(ids []types.ID) string {
	var names []string
	for _, id := range ids[:min(len(ids), mostNames)] {
		names = append(names, s.name(id))
	}
	if more := len(ids) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	switch last := len(names) - 1; last {
	case -1:
		return "nobody"
	case 0:
		return names[0]
	default:
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
}

// summary says what the peer is in one line.
func (s *Server) summary(st *handlers.Status) string {
	me := s.name(st.ID)
	if st.Standing != types.Joined {
		return fmt.Sprintf("%s is in no group", me)
	}
	place := fmt.Sprintf("view %d with %s", st.View.Number, count(len(st.View.Members), "member"))
	switch {
	case st.Halt == handlers.LeavesView:
		return fmt.Sprintf("%s is leaving %s", me, place)
	case st.Leads:
		return fmt.Sprintf("%s leads %s", me, place)
	case st.Halt == handlers.Going:
		return fmt.Sprintf("%s follows %s in %s", me, s.name(st.Follows), place)
	}
	return fmt.Sprintf("%s holds %s, and the group stands still", me, place)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// haltWords says why the group cannot go on, and for whom it waits.
func (s *Server) haltWords(h handlers.Halt, awaited []types.ID) string {
	names := s.names(awaited)
	switch h {
	case handlers.NoGroup:
		if len(awaited) == 0 {
			return "it waits to be let into the group; no host runs that is in one"
		}
		return "it waits to be let into the group; no answer from " + names
	case handlers.Unfounded:
		if len(awaited) == 0 {
			return "it is about to make a group"
		}
		return "it waits to make a group until it is known whether they run: " + names
	case handlers.NoNames:
		return "it waits to make a group: the name service knows none of the other hosts: " + names
	case handlers.Banned:
		return "it was expelled from the group, and stays out until it is started again"
	case handlers.NoQuorum:
		return "it reaches no quorum of its view; missing: " + names
	case handlers.NoAnswers:
		return "it leads, but too few members answer; it waits for " + names
	case handlers.NoGrants:
		return "nobody leads; it stands for leader and waits for the word of " + names
	case handlers.NoLeader:
		return "nobody leads; it is the turn of " + names
	case handlers.LeavesView:
		return "it is leaving the group"
	}
	return "the group goes on"
}

// lossWords says whom the group could lose now.
func (s *Server) lossWords(st *handlers.Status) string {
	spare, leader := st.Spare, s.name(st.View.Leader)
	switch {
	case st.Standing != types.Joined:
		return "it is in no group"
	case st.Halt == handlers.LeavesView:
		return s.haltWords(st.Halt, nil)
	case !st.Quorate:
		return "nobody: it stands still already"
	case len(st.View.Members) == 1:
		return "nobody: there is one member"
	case spare.Sparing == 0:
		return "nobody: it needs every member that is reachable"
	case spare.Any == 0:
		return fmt.Sprintf("any %d at once, but not %s", spare.Sparing, leader)
	case spare.Sparing > spare.Any:
		return fmt.Sprintf("any %d at once; %d if %s is none of them", spare.Any, spare.Sparing, leader)
	}
	return fmt.Sprintf("any %d at once", spare.Any)
}

// seconds says how long something took, or is ago.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// eventWords says what happened.
func (s *Server) eventWords(e *handlers.Event) string {
	switch e.Kind {
	case handlers.Noticed:
		words := s.name(e.Host) + " is unreachable"
		if e.Host == e.Leader {
			words = s.name(e.Host) + ", the leader, is unreachable"
		}
		if e.Silence != handlers.Never {
			words += ", last heard " + seconds(e.Silence) + " before"
		}
		return words
	case handlers.Said:
		return e.Text
	case handlers.Halted:
		if e.Halt == handlers.Going {
			return "the group goes on"
		}
		return s.haltWords(e.Halt, e.Awaited)
	}
	words := s.cause(e)
	if e.Answers > 0 {
		words += fmt.Sprintf("; %s, %d needed", count(e.Answers, "answer"), e.Needed)
	}
	if e.Took != handlers.Never {
		words += "; took " + seconds(e.Took)
	}
	return words
}

// cause says what made a view, and who asked for it, or carried it out.
func (s *Server) cause(e *handlers.Event) string {
	host, asked := s.name(e.Change.Member.ID), s.name(e.Asked)
	switch {
	case e.Made:
		return asked + " made the group"
	case e.Change.Operation == types.Add:
		return host + " asked to join"
	case e.Change.Operation == types.Nothing && e.Asked != 0:
		return asked + " asked to join, and was let in"
	case e.Change.Operation == types.Nothing:
		return "views between were missed"
	}
	switch e.Change.Cause {
	case types.Left:
		return host + " asked to leave"
	case types.Restarted:
		return host + " was restarted; removed by " + asked
	case types.Expelled:
		return host + " was expelled; removed by " + asked
	}
	return host + " was unreachable; removed by " + asked
}
