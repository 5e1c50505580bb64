%% outrider_observer_cli: that its callbacks return what observer_cli's plug-ins are to return.
-module(outrider_observer_cli_SUITE).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([each_row_has_the_columns_of_the_header/1, rates_are_of_the_time_between_two_refreshes/1]).
-export([a_listener_that_has_stopped_is_left_out/1]).
-import(own_case, [server/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    Echo = #{silent => true, websocket_handle => fun(Frame, State) -> {[Frame], State} end},
    own_case:init(Case, #{routes => [{"/[...]", ws_script_h, Echo}]}, Config).

end_per_testcase(Case, _) ->
    own_case:stop(Case).

each_row_has_the_columns_of_the_header(Config) ->
    Server = #{probe := Probe} = server(Config),
    _ = ws_client:open_at(Server, "/room"),
    Pid = probe:process(Probe),
    {[Row], state} = outrider_observer_cli:sheet_body(state),
    [Pid, 0, 0, 0, 0, Idle, "open", "each_row_has_the_columns_of_the_header", Client] = Row,
    true = is_integer(Idle),
    "/room" = lists:last(string:split(Client, " ")),
    true = length(Row) =:= length(outrider_observer_cli:sheet_header()),
    [] = [Header || Header <- outrider_observer_cli:sheet_header(), not is_list(maps:get(title, Header))],
    Shortcuts = [Shortcut || #{shortcut := Shortcut} <- outrider_observer_cli:sheet_header()],
    true = length(Shortcuts) =:= length(lists:usort(Shortcuts)).

rates_are_of_the_time_between_two_refreshes(Config) ->
    Server = server(Config),
    {[[_, _, Idle, _]], State} = outrider_observer_cli:attributes(undefined),
    #{content := "messages/s 0 in, 0 out", width := _} = Idle,
    Socket = ws_client:open(Server),
    ok = ws_client:send(Socket, [{text, <<"a">>} || _ <- lists:seq(1, 2000)]),
    _ = ws_client:recv(Socket, 2000),
    {[[Name, WebSockets, Messages, _]], _} = outrider_observer_cli:attributes(State),
    #{content := "rates_are_of_the_time_between_two_refreshes running"} = Name,
    #{content := "WebSockets 1" ++ _} = WebSockets,
    false = maps:get(content, Messages) =:= maps:get(content, Idle).

a_listener_that_has_stopped_is_left_out(Config) ->
    #{ref := Ref} = server(Config),
    {[_], State} = outrider_observer_cli:attributes(undefined),
    ok = own_case:stop(Ref),
    {[], _} = outrider_observer_cli:attributes(State),
    {[], _} = outrider_observer_cli:sheet_body(undefined).
