%% How the process of a request ends by itself, or by an exit signal, and what the client gets: without an answer, at a crash before and
%% behind it, at an error that is the client's.
-module(http_crashes_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE).

%% Plays the fun as init/2 and returns the answer, what a second request on the connection gets, the calls and the log.
ends(Init, Requests) ->
    #{wire := Wire, calls := Calls, log := Log} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> Init(Req, State) end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        [begin
            http_client:send(Socket, http_client:request("GET", "/")),
            Answer = http_client:response(Socket),
            ok = probe:await_exits(Probe, Number),
            case Answer of
                #{status := Status, headers := Headers, body := Body} -> {Status, Headers, Body};
                Ended -> Ended
            end
        end || Number <- lists:seq(1, Requests)]
    end),
    {Wire, Calls, Log}.

-define(BARE_500, {500, [{<<"content-length">>, <<"0">>}], <<>>}).

%% 204, without any header, and the connection goes on.
nothing_is_sent(_) ->
    {[{204, [], <<>>}, {204, [], <<>>}], _, []} = ends(fun(Req, State) -> {ok, Req, State} end, 2).

it_crashes(_) ->
    _ = [begin
        {[?BARE_500, ?BARE_500], Calls, Log} = ends(fun(_, _) -> Raise() end, 2),
        Once = [{terminate, {crash, Class, oops}}, {exit, Exit}],
        Once = lists:sublist(Calls, 2),
        Logged = lists:sublist(Log, 2)
    end || {Class, Raise, Exit, Logged} <- [
        {error, fun() -> error(oops) end, {oops, stack},
            [{crash_report, error, oops}, {error, request_process, oops}]},
        {throw, fun() -> throw(oops) end, {{nocatch, oops}, stack},
            [{crash_report, throw, oops}, {error, request_process, {nocatch, oops}}]}]],
    ok.

%% An exit from within a callback carries its stack, and is a crash like the others.
it_exits_in_a_callback(_) ->
    {[?BARE_500, ?BARE_500], [{terminate, {crash, exit, oops}}, {exit, {oops, stack}} | _], _} =
        ends(fun(_, _) -> exit(oops) end, 2).

it_crashes_after_the_answer(_) ->
    {[{200, _, <<"sent">>}, {200, _, <<"sent">>}], [{terminate, {crash, error, oops}} | _], _} =
        ends(fun(Req, _) -> cowboy_req:reply(200, #{}, <<"sent">>, Req), error(oops) end, 2).

%% In HTTP/2 the client learns that the body is not whole; in HTTP/1.1 Cowboy, and so Outrider, ends it like another.
it_crashes_in_the_middle_of_a_stream(_) ->
    #{wire := Wire} = same_test:same(#{handler => {http_script_h, #{init => fun(Req0, _) ->
        Req = cowboy_req:stream_reply(200, Req0),
        ok = cowboy_req:stream_body(<<"half">>, nofin, Req),
        error(oops)
    end}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := 200} = http_client:head(Socket),
        [http_client:chunk(Socket), http_client:chunk(Socket)]
    end),
    End = case same_test:is_http2() of true -> closed; false -> last end,
    [<<"half">>, End] = Wire.

%% cowboy_req's own errors are the client's fault.
bad_requests(_) ->
    same_test:rows(#{handler => {http_script_h, #{init => fun(Req, State) ->
        _ = case cowboy_req:path(Req) of
            <<"/qs">> -> cowboy_req:parse_qs(Req);
            <<"/match">> -> cowboy_req:match_qs([{id, int}], Req);
            <<"/cookie">> -> cowboy_req:parse_cookies(Req);
            <<"/header">> -> cowboy_req:parse_header(<<"accept">>, Req);
            <<"/form">> -> cowboy_req:read_urlencoded_body(Req);
            <<"/part">> -> cowboy_req:read_part(Req)
        end,
        {ok, cowboy_req:reply(200, Req), State}
    end}}}, fun(Server, Request) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, Request),
        #{status := Status} = http_client:response(Socket),
        http_client:send(Socket, http_client:request("GET", "/qs?ok")),
        #{status := Next} = http_client:response(Socket),
        {Status, Next}
    end, [
        {qs, http_client:request("GET", "/qs?a=%zz"), {400, 200}},
        {match, http_client:request("GET", "/match?id=x"), {400, 200}},
        {match_missing, http_client:request("GET", "/match"), {400, 200}},
        {cookie, http_client:request("GET", "/cookie", [{"Cookie", "a=\"b"}], ""), {200, 200}},
        {header, http_client:request("GET", "/header", [{"Accept", "!!!"}], ""), {400, 200}},
        {form, http_client:request("POST", "/form", [{"Content-Length", "3"}], "%zz"), {400, 200}},
        {part, http_client:request("POST", "/part", [{"Content-Length", "3"},
            {"Content-Type", "multipart/form-data; boundary=b"}], "abc"), {400, 200}}
    ]).

%% A form that does not come in time: 408, and the connection is closed.
a_form_that_does_not_come(_) ->
    #{wire := {408, <<"close">>, closed}} = same_test:same(#{handler => {http_script_h, #{init => fun(Req, State) ->
        {ok, _, Req1} = cowboy_req:read_urlencoded_body(Req, #{period => 50}),
        {ok, Req1, State}
    end}}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "10"}], "a=1")),
        #{status := Status} = Answer = http_client:response(Socket),
        {Status, http_client:header(<<"connection">>, Answer), http_client:closed(Socket)}
    end).

%% The reader's own `timeout' is a crash like any other.
a_body_that_is_not_waited_for(_) ->
    #{wire := 500, calls := [{terminate, {crash, exit, timeout}}, {exit, {timeout, stack}}]} =
        same_test:same(#{handler => {http_script_h, #{init => fun(Req, State) ->
            {ok, _, Req1} = cowboy_req:read_body(Req, #{period => 60000, timeout => 50}),
            {ok, Req1, State}
        end}}}, fun(Server) ->
            Socket = http_client:connect(Server),
            http_client:send(Socket, http_client:request("POST", "/", [{"Content-Length", "10"}], "a=1")),
            maps:get(status, http_client:response(Socket))
        end).

%% After an exit signal with a bare reason the client waits until the idle timeout: what the stream's handlers do not
%% know, the server cannot. (They know since Cowboy 2.13, and the answer is a 500.)
exit_signals(_) ->
    Expected = case same_test:version(cowboy) < {2, 13} of
        true -> closed;
        false -> 500
    end,
    _ = [#{wire := Expected} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, Req, State} end
    }}, protocol => #{idle_timeout => 200}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        exit(probe:process(Probe), Signal),
        case http_client:response(Socket) of
            #{status := Status} -> Status;
            closed -> closed
        end
    end) || Signal <- [kill, oops, shutdown]],
    ok.

an_exit_signal_with_a_shutdown_reason(_) ->
    #{wire := 500, log := []} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, Req, State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        exit(probe:process(Probe), {shutdown, why}),
        #{status := Status} = http_client:response(Socket),
        Status
    end).
