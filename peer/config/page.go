package config

import "memberly/peer/config/options"

// Page describes the daemon's flags, those of Config.flags. The names of the variables must be none of those that -exec and
// -hold set for their commands, such as MEMBERLY_PEER_NAME and MEMBERLY_VERSION, nor such as Kubernetes makes of a service
// called memberly: MEMBERLY_PORT, and all that end with _PORT or _SERVICE_HOST.
var Page = options.Page{
	What:     "keep a group of hosts in agreement about which of them are up and which one leads",
	Synopsis: "-h FILE [options]",
	About:    "Keeps a group of hosts in agreement about which are up and which one leads.",
	Operand:  "",
	Sections: []options.Section{
		{Title: "Required", Options: []options.Option{
			{Name: "h", Arg: "FILE", Variable: "MEMBERLY_HOSTS_FILE",
				What: "hosts file: one host name per line, optionally followed by its address. Read again when it changes. For help, use -help"},
		}},
		{Title: "Timing", Options: []options.Option{
			{Name: "d", Arg: "N", Variable: "MEMBERLY_DELAY", Default: "0", What: "wait N seconds before doing anything"},
			{Name: "c", Arg: "N", Variable: "MEMBERLY_CRASH", Default: "0: never", What: "crash N seconds after that wait"},
			{Name: "heartbeat", Arg: "D", Variable: "MEMBERLY_HEARTBEAT", Default: "1.1s", What: "time between two heartbeats"},
			{Name: "monitor", Arg: "D", Variable: "MEMBERLY_MONITOR", Default: "2.2s",
				What: "silence that makes a peer unreachable, at least twice the heartbeat"},
		}},
		{Title: "This host", Options: []options.Option{
			{Name: "n", Arg: "NAME", Variable: "MEMBERLY_NAME", Default: "the machine's host name", What: "this host's name in the file"},
			{Name: "join-only", Variable: "MEMBERLY_JOIN_ONLY", What: "wait for a group, and make none; for a host that is added"},
			{Name: "t", Variable: "MEMBERLY_DRILL", What: "leader-failure drill; on the first of four or more hosts"},
			{Name: "exec", Arg: "COMMAND", Variable: "MEMBERLY_EXEC",
				What: "run COMMAND with /bin/sh on each view, and once more when the peer has left, with the view as JSON on standard input " +
					"and in MEMBERLY_ variables. It may take 10 s; the group does not wait"},
			{Name: "hold", Arg: "COMMAND", Variable: "MEMBERLY_HOLD",
				What: "run COMMAND with /bin/sh while this peer leads, never while another does; restart it when it ends. Its output is not shown"},
			{Name: "hold-once", Variable: "MEMBERLY_HOLD_ONCE", What: "with -hold: run it once each time that this peer begins to lead"},
		}},
		{Title: "Whole group on this machine", Options: []options.Option{
			{Name: "local", Variable: "MEMBERLY_LOCAL",
				What: "run every host of the file on this machine, started -d seconds apart; -c then applies to the last host, -t to the first. " +
					"They use the file's addresses if all are loopback addresses, else 127.0.0.1, 127.0.0.2 and so on. The file is read once"},
		}},
		{Title: "State (off unless given)", Options: []options.Option{
			{Name: "state", Arg: "FILE", Variable: "MEMBERLY_STATE",
				What: "store in FILE what this host must remember, so that the group goes on after a power cut; with -local in FILE.NAME for each"},
		}},
		{Title: "Security (off unless given)", Options: []options.Option{
			{Name: "key", Arg: "FILE", Variable: "MEMBERLY_KEY",
				What: "encrypt and authenticate all traffic with the keys in FILE, the same on all hosts, and reject all else; see memberly keygen"},
			{Name: "reform", Variable: "MEMBERLY_REFORM", What: "with -key: re-form a lost group on refused connections too"},
		}},
		{Title: "Monitoring (off unless given)", Options: []options.Option{
			{Name: "http", Arg: "ADDR", Variable: "MEMBERLY_HTTP",
				What: "serve status, events, metrics and a web page at PORT on a loopback address only, or at ADDRESS:PORT"},
			{Name: "times", Variable: "MEMBERLY_TIMES",
				What: "put the time, in UTC, and a space before each record on stderr"},
		}},
		{Options: []options.Option{
			{Name: "version", What: "print the version and exit"},
		}},
	},
	Exit: "0 the peer left after SIGTERM or SIGINT, 1 it could not start, or crashed as -c or -t order, 2 wrong usage",
	Examples: []options.Example{
		{What: "five hosts on this machine, started two seconds apart", Line: "memberly -h hostsfile.txt -local -d 2"},
	},
}
