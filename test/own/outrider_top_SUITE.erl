%% outrider_top: what stands on the page, that it stays within its width, and that no client writes to the terminal.
-module(outrider_top_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_page_has_listener_sidecar_and_clients/1, it_ends_after_its_count/1, it_ends_with_its_input/1]).
-export([no_line_is_wider_than_asked/1, a_path_cannot_write_to_the_terminal/1, wrong_options_are_a_badarg/1]).
-export([a_listener_that_stops_meanwhile_is_said_to_be_stopped/1, a_narrow_terminal_shows_who_it_is/1]).
-import(own_case, [server/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => [{"/[...]", ws_script_h, #{silent => true}}]}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

a_page_has_listener_sidecar_and_clients(Config) ->
    Server = #{ref := Ref, probe := Probe} = server(Config),
    _ = ws_client:open_at(Server, "/room"),
    Text = shown(fun() -> ok = outrider_top:print(Ref) end),
    OsPid = integer_to_list(os_process:sidecar(Ref)),
    contains(Text, ["== a_page_has_listener_sidecar_and_clients  running", "websockets 1,", OsPid, "/room", pid_to_list(probe:process(Probe))]),
    nomatch = string:find(Text, "\e").

it_ends_after_its_count(Config) ->
    #{ref := Ref} = server(Config),
    Text = shown(fun() -> ok = outrider_top:start(#{count => 3, interval => 100, listeners => [Ref]}) end),
    4 = length(string:split(Text, "== it_ends_after_its_count", all)).

%% Without a count it asks its group leader for keys; one that has none any more ends it.
it_ends_with_its_input(Config) ->
    #{ref := Ref} = server(Config),
    Lines = ["m\n", "q\n"],
    Leader = spawn_link(fun() -> answer(Lines, <<>>) end),
    Self = self(),
    Pid = spawn_link(fun() ->
        group_leader(Leader, self()),
        ok = outrider_top:start(#{interval => 100, listeners => [Ref]}),
        Self ! {done, self()}
    end),
    receive {done, Pid} -> ok after 20000 -> error(goes_on) end.

answer(Lines, Written) ->
    receive
        {io_request, From, As, {put_chars, _, Text}} ->
            From ! {io_reply, As, ok},
            answer(Lines, [Written, Text]);
        {io_request, From, As, {get_geometry, _}} ->
            From ! {io_reply, As, {error, enotsup}},
            answer(Lines, Written);
        {io_request, From, As, {get_line, _, _}} when Lines =/= [] ->
            From ! {io_reply, As, hd(Lines)},
            answer(tl(Lines), Written)
    end.

no_line_is_wider_than_asked(Config) ->
    Server = #{ref := Ref} = server(Config),
    _ = ws_client:open_at(Server, ["/", binary:copy(<<"long">>, 50)]),
    Before = outrider_sample:take(Ref),
    View = outrider_sample:between(Before, outrider_sample:take(Ref)),
    [_] = Clients = outrider:connections(Ref),
    _ = [
        [] = [Line || Line <- string:split(iolist_to_binary(outrider_top:text([{View, Clients}], backlog, Width)), "\n", all), byte_size(Line) > Width]
     || Width <- lists:seq(40, 300)
    ].

%% Rather than all numbers: a client's process, what is the trouble with it, where it is and what it asked for.
a_narrow_terminal_shows_who_it_is(Config) ->
    Server = #{ref := Ref} = server(Config),
    _ = ws_client:open_at(Server, "/room"),
    Sample = outrider_sample:take(Ref),
    [Client] = outrider:connections(Ref),
    #{pid := Pid} = Blocked = Client#{state := blocked, peer := {{192, 168, 100, 200}, 54321}, backlog := 188876, credit_in := 12345},
    _ = [begin
        Text = iolist_to_binary(outrider_top:text([{outrider_sample:between(Sample, Sample), [Blocked]}], backlog, Width)),
        contains(binary_to_list(Text), [pid_to_list(Pid), "BACKLOG", "188.9kB", "12.3kB", "blocked 192.168.100.200:54321 /room"])
    end || Width <- [80, 100, 200]].

%% An escape sequence, also in the form that takes one character (CSI, U+009B).
a_path_cannot_write_to_the_terminal(Config) ->
    Server = #{ref := Ref} = server(Config),
    _ = ws_client:open_at(Server, "/a"),
    Sample = outrider_sample:take(Ref),
    [Client] = outrider:connections(Ref),
    Hostile = Client#{path := <<"/a", 16#1b, "[2J", 16#9b/utf8, "b", 127, $~>>},
    Text = binary_to_list(iolist_to_binary(outrider_top:text([{outrider_sample:between(Sample, Sample), [Hostile]}], backlog, 200))),
    contains(Text, ["/a%1B[2J%C2%9Bb%7F~"]),
    [] = [C || C <- Text, C =/= $\n, C < $\s orelse C > $~].

wrong_options_are_a_badarg(_) ->
    [badarg = try outrider_top:start(Options) catch error:Reason -> Reason end
        || Options <- [#{count => 0}, #{sort => colour}, #{limit => 1001}, #{interval => 99}, #{other => 1}]].

a_listener_that_stops_meanwhile_is_said_to_be_stopped(Config) ->
    #{ref := Ref} = server(Config),
    ok = own_case:stop(Ref),
    contains(shown(fun() -> ok = outrider_top:print(Ref) end), ["stopped", "the sidecars do not say"]).

shown(Fun) ->
    ok = ct:capture_start(),
    try Fun() after ct:capture_stop() end,
    lists:flatten(ct:capture_get()).

contains(Text, Parts) ->
    [] = [{missing, Part, Text} || Part <- Parts, string:find(Text, Part) =:= nomatch].
