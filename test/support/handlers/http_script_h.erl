%% A plain or loop handler that does what the case's script says: `init', and for loops `info' and `terminate'.
%% Its process is watched, as `exit', and terminate/3 notes its reason; with `silent => true' neither, for scenarios in
%% which several processes would note their ends in any order.
-module(http_script_h).

-export([init/2, info/3, terminate/3]).

init(Req, #{silent := true, init := Script} = State) ->
    Script(Req, State);
init(Req, #{probe := Probe, init := Script} = State) ->
    probe:watch(Probe),
    Script(Req, State).

info(Message, Req, #{probe := Probe, info := Script} = State) ->
    probe:note(Probe, {info, Message}),
    Script(Message, Req, State).

terminate(_, _, #{silent := true}) ->
    ok;
terminate(Reason, Req, #{probe := Probe} = State) ->
    probe:note(Probe, {terminate, Reason}),
    case State of
        #{terminate := Script} -> Script(Reason, Req, State);
        #{} -> ok
    end.
