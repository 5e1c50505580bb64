%%% Listeners and their worst clients as a sheet of observer_cli, for those who look at their nodes with that:
%%%
%%%     {observer_cli, [{plugins, [#{module => outrider_observer_cli, title => "Outrider", shortcut => "O"}]}]}
%%%
%%% The callbacks are those of its behaviour observer_cli_plugin, which is not named, for Outrider does not depend on it. They run in
%%% its process, once for each refresh. Text of clients is shown as outrider_top shows it.
-module(outrider_observer_cli).

-export([attributes/1, sheet_header/0, sheet_body/1]).

%% So many listeners, and so many clients of each; it shows a part of them at a time.
-define(LISTENERS, 8).
-define(CLIENTS, 100).

-type cell() :: #{content := iodata() | integer(), width := pos_integer()}.
-type samples() :: #{ranch:ref() => outrider_sample:sample()}.

%% A line for each listener; rates are of the time since the last refresh.
-spec attributes(undefined | samples()) -> {[[cell()]], samples()}.
attributes(undefined) ->
    attributes(#{});
attributes(Before) ->
    Now = maps:from_list([{Ref, outrider_sample:take(Ref)} || Ref <- refs()]),
    {[line(outrider_sample:between(maps:get(Ref, Before, Sample), Sample)) || {Ref, Sample} <- lists:sort(maps:to_list(Now))], Now}.

refs() ->
    lists:sublist(lists:sort(maps:keys(outrider:info())), ?LISTENERS).

line(#{listener := Ref, status := Status, connections := Connections, rates := Rates, backlog := Backlog}) ->
    #{messages_in := In, messages_out := Out, accepted := Accepted} = Rates,
    #{bytes := Bytes, blocked := Blocked} = Backlog,
    [
        #{content => text([outrider_top:printable(outrider_text:name(Ref)), " ", atom_to_list(Status)]), width => 36},
        #{content => text(io_lib:format("WebSockets ~b, new/s ~b", [maps:get(websocket, Connections, 0), round(Accepted)])), width => 32},
        #{content => text(io_lib:format("messages/s ~b in, ~b out", [round(In), round(Out)])), width => 36},
        #{content => text(io_lib:format("backlog ~b B, blocked ~b", [Bytes, Blocked])), width => 36}
    ].

%% The number of a column is what observer_cli sorts by, the second at first.
-spec sheet_header() -> [#{title := string(), width := pos_integer(), shortcut => string()}].
sheet_header() ->
    [
        #{title => "Process", width => 16},
        #{title => "Backlog", width => 12, shortcut => "BL"},
        #{title => "Credit in", width => 14, shortcut => "CI"},
        #{title => "Msgs in", width => 13, shortcut => "MI"},
        #{title => "Msgs out", width => 13, shortcut => "MO"},
        #{title => "Idle ms", width => 13, shortcut => "ID"},
        #{title => "State", width => 10},
        #{title => "Listener", width => 16},
        #{title => "Client", width => 60}
    ].

-spec sheet_body(State) -> {[[pid() | integer() | string()]], State}.
sheet_body(State) ->
    {[row(Ref, Client) || Ref <- refs(), Clients <- [outrider_sample:clients(Ref, backlog, ?CLIENTS)], Clients =/= undefined, Client <- Clients], State}.

row(Ref, #{pid := Pid, peer := Peer, path := Path, state := State} = Client) ->
    #{backlog := Backlog, credit_in := CreditIn, messages_in := In, messages_out := Out, idle := Idle} = Client,
    [
        Pid, Backlog, CreditIn, In, Out, Idle, atom_to_list(State), text(outrider_top:printable(outrider_text:name(Ref))),
        text([outrider_top:printable(outrider_text:address(Peer)), " ", outrider_top:printable(Path)])
    ].

text(Text) ->
    binary_to_list(iolist_to_binary(Text)).
