%% The process of a request: every way in which it can end and what the client gets, and what happens to it when the
%% client goes.
-module(http_process_SUITE).

-compile([export_all, nowarn_export_all]).

all() ->
    same_test:cases(?MODULE) -- [streams_to_head].

%%% How it ends

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

%%% Its surroundings

its_surroundings(_) ->
    #{linked := true, ancestor := true, trap_exit := {trap_exit, false}, same := false,
        initial_call := {cowboy_stream_h, request_process, 3}} = http_case:noted(fun(#{pid := Pid}) -> #{
            linked => lists:member(Pid, element(2, process_info(self(), links))),
            ancestor => hd(get('$ancestors')) =:= Pid,
            trap_exit => process_info(self(), trap_exit),
            same => Pid =:= self(),
            initial_call => get('$initial_call')
        } end, "/").

each_request_has_a_process_of_its_own(_) ->
    #{wire := different} = http_case:serve(fun(Req) ->
        cowboy_req:reply(200, #{}, pid_to_list(self()), Req)
    end, #{}, fun(Server) ->
        Socket = http_client:connect(Server),
        [One, Two] = [begin
            http_client:send(Socket, http_client:request("GET", "/")),
            maps:get(body, http_client:response(Socket))
        end || _ <- [1, 2]],
        case One of Two -> same; _ -> different end
    end).

%% In Cowboy it is the connection's process, in Outrider the stream's, which two have not at a time.
pid_of_req(_) ->
    same_test:differ(pid_per_request, #{handler => {http_script_h, #{silent => true, init => fun
        (#{pid := Pid} = Req, #{probe := Probe} = State) ->
            Req2 = cowboy_req:reply(200, #{}, pid_to_list(Pid), Req),
            go_on = probe:await(Probe, go_on),
            {ok, Req2, State}
    end}}}, fun(#{name := Name, probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        Ask = fun() ->
            http_client:send(Socket, http_client:request("GET", "/")),
            maps:get(body, http_client:response(Socket))
        end,
        One = Ask(),
        %% Only Outrider answers while the handler before goes on.
        Name =:= cowboy andalso probe:note(Probe, go_on),
        Two = Ask(),
        probe:note(Probe, go_on),
        One =:= Two
    end, #{cowboy => fun(#{wire := true}) -> ok end, outrider => fun(#{wire := false}) -> ok end}).

%%% The client goes

the_client_goes_while_the_handler_waits(_) ->
    #{calls := [{exit, shutdown}], log := []} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, Req, State} end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        probe:process(Probe),
        http_client:close(Socket),
        probe:await_exit(Probe),
        ok
    end).

%% A loop handler that traps exits is told by terminate/3.
the_client_goes_and_the_handler_traps_exits(_) ->
    #{calls := [ready, {terminate, shutdown}, {exit, normal}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            process_flag(trap_exit, true),
            probe:note(Probe, ready),
            {cowboy_loop, Req, State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        probe:await(Probe, ready),
        http_client:close(Socket),
        probe:await_exit(Probe),
        ok
    end).

the_client_goes_in_the_middle_of_a_stream(_) ->
    #{calls := [{exit, shutdown}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req0, State) ->
            Req = cowboy_req:stream_reply(200, Req0),
            ok = cowboy_req:stream_body(<<"first">>, nofin, Req),
            {cowboy_loop, Req, State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{status := 200} = http_client:head(Socket),
        <<"first">> = http_client:chunk(Socket),
        http_client:close(Socket),
        probe:await_exit(Probe),
        ok
    end).

%% The client has all of the answer to HEAD with its head, and the handler may still have something to do: it ends by itself, and the
%% next request waits for that; or it hears that the client has gone.
the_handler_of_a_head_goes_on(_) ->
    #{wire := 200, calls := [{info, go}, {info, stop}, {terminate, stop}, {exit, normal}, {exit, shutdown}], log := []} =
        streams_to_head(fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            First = asks_head(Socket, [], Probe),
            http_client:send(Socket, http_client:request("HEAD", "/")),
            First ! stop,
            probe:await_exit(Probe),
            #{status := Status} = http_client:response(Socket, <<"HEAD">>),
            http_client:close(Socket),
            probe:await_exits(Probe, 2),
            Status
        end).

the_handler_of_a_last_head_goes_on(_) ->
    #{wire := closed, calls := [{info, go}, {info, stop}, {terminate, stop}, {exit, normal}], log := []} =
        streams_to_head(fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            asks_head(Socket, [{"connection", "close"}], Probe) ! stop,
            probe:await_exit(Probe),
            http_client:closed(Socket)
        end).

the_handler_of_a_last_head_hears_that_its_client_has_gone(_) ->
    #{wire := ok, calls := [{info, go}, {exit, shutdown}], log := []} =
        streams_to_head(fun(#{probe := Probe} = Server) ->
            Socket = http_client:connect(Server),
            _ = asks_head(Socket, [{"connection", "close"}], Probe),
            http_client:close(Socket),
            probe:await_exit(Probe),
            ok
        end).

streams_to_head(Scenario) ->
    same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, cowboy_req:stream_reply(200, Req), State} end,
        info => fun
            (go, Req, State) ->
                ok = cowboy_req:stream_body(<<"some">>, nofin, Req),
                {ok, Req, State};
            (stop, Req, State) ->
                ok = cowboy_req:stream_body(<<"last">>, fin, Req),
                {stop, Req, State}
        end
    }}}, Scenario).

%% Returns the handler's process, once it has done something behind the answer's head.
asks_head(Socket, Headers, Probe) ->
    http_client:send(Socket, http_client:request("HEAD", "/", Headers, "")),
    #{status := 200} = http_client:response(Socket, <<"HEAD">>),
    Handler = probe:process(Probe),
    Handler ! go,
    {info, go} = probe:await(Probe, {info, go}),
    Handler.

%% One that does not heed the signal is killed after shutdown_timeout.
a_handler_that_does_not_go_is_killed(_) ->
    #{calls := [ready, {exit, killed}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            process_flag(trap_exit, true),
            probe:note(Probe, ready),
            receive never -> ok end,
            {ok, Req, State}
        end
    }}, protocol => #{shutdown_timeout => 100}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        probe:await(Probe, ready),
        http_client:close(Socket),
        probe:await_exit(Probe),
        ok
    end).

%% Without received data for idle_timeout the connection is closed, and the handler with it.
idle_timeout_of_a_request(_) ->
    silence(idle_timeout, 200).

%% Without any message for inactivity_timeout likewise.
inactivity_timeout_of_a_request(_) ->
    silence(inactivity_timeout, 200).

silence(Option, Timeout) ->
    #{wire := closed, calls := [{exit, shutdown}]} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) -> {cowboy_loop, Req, State} end
    }}, protocol => #{Option => Timeout}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        http_client:closed(Socket)
    end).

idle_timeout_of_a_request_by_cast(_) ->
    #{wire := closed} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, State) ->
            ok = cowboy_req:cast({set_options, #{idle_timeout => 200}}, Req),
            {cowboy_loop, Req, State}
        end
    }}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        http_client:closed(Socket)
    end).

%% A client that only listens, to a handler that speaks within idle_timeout, twice as long as that.
bytes_sent_put_idle_timeout_off(_) ->
    #{wire := {<<"xxxxxx">>, closed}} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req0, State) ->
            Req = cowboy_req:stream_reply(200, #{<<"content-length">> => <<"6">>}, Req0),
            _ = [begin
                cowboy_req:stream_body(<<"x">>, nofin, Req),
                receive after 400 -> ok end
            end || _ <- lists:seq(1, 6)],
            {ok, Req, State}
        end
    }}, protocol => #{idle_timeout => 1200, request_timeout => 1200, reset_idle_timeout_on_send => true}}, fun(Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        #{body := Body} = http_client:response(Socket),
        {Body, http_client:closed(Socket)}
    end).

%% What tools show of Req's pid, since OTP 27.
the_label_of_its_process(_) ->
    Label = case same_test:is_http2() of true -> <<"{cowboy_http2,listener}">>; false -> <<"{cowboy_http,listener}">> end,
    same_test:label(#{handler => {http_script_h, #{
        init => fun(#{pid := Pid} = Req, State) ->
            {dictionary, Dictionary} = process_info(Pid, dictionary),
            Shown = transcript:plain(proplists:get_value('$process_label', Dictionary)),
            {ok, cowboy_req:reply(200, #{<<"label">> => io_lib:format("~0p", [Shown])}, Req), State}
        end
    }}}, fun(Server) ->
        http_client:header(<<"label">>, http_client:get(Server, "/"))
    end, {<<"undefined">>, Label}).

%% Operators send clients away so: the answer is finished, says that the connection closes, and it does.
sys_terminate(_) ->
    #{wire := {200, <<"close">>, closed}, calls := [ready, {terminate, normal}, {exit, normal}]} =
        terminated(fun(Req, Wait) -> Wait(), cowboy_req:reply(200, Req) end, fun(Socket, Terminate) ->
            Terminate(),
            #{status := Status} = Response = http_client:response(Socket),
            {Status, http_client:header(<<"connection">>, Response), http_client:closed(Socket)}
        end).

%% It closes also where the answer's head has said nothing of it.
sys_terminate_behind_the_head(_) ->
    #{wire := {200, undefined, [<<"one">>, <<"two">>, last], closed}} =
        terminated(fun(Req0, Wait) ->
            Req = cowboy_req:stream_reply(200, Req0),
            ok = cowboy_req:stream_body(<<"one">>, nofin, Req),
            Wait(),
            ok = cowboy_req:stream_body(<<"two">>, fin, Req),
            Req
        end, fun(Socket, Terminate) ->
            #{status := Status} = Head = http_client:head(Socket),
            One = http_client:chunk(Socket),
            Terminate(),
            Chunks = [One, http_client:chunk(Socket), http_client:chunk(Socket)],
            <<"\r\n">> = http_client:bytes(Socket, 2),
            {Status, http_client:header(<<"connection">>, Head), Chunks, http_client:closed(Socket)}
        end).

%% Answer waits in the middle, Client has the process of its request terminated, and goes on to read.
terminated(Answer, Client) ->
    same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            {ok, Answer(Req, fun() -> probe:note(Probe, ready), receive go -> ok end end), State}
        end
    }}}, fun(#{probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        Client(Socket, fun() ->
            ready = probe:await(Probe, ready),
            Handler = probe:process(Probe),
            {dictionary, Dictionary} = process_info(Handler, dictionary),
            ok = sys:terminate(hd(proplists:get_value('$ancestors', Dictionary)), enough),
            Handler ! go
        end)
    end).

%% The listener's stop lets a request finish; its answer says that the connection closes.
the_listener_stops_while_a_request_runs(_) ->
    #{wire := {200, <<"close">>, closed}} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            probe:note(Probe, ready),
            receive go -> ok end,
            {ok, cowboy_req:reply(200, Req), State}
        end
    }}}, fun(#{name := Name, ref := Ref, probe := Probe} = Server) ->
        Socket = http_client:connect(Server),
        http_client:send(Socket, http_client:request("GET", "/")),
        probe:await(Probe, ready),
        Handler = probe:process(Probe),
        {dictionary, Dictionary} = process_info(Handler, dictionary),
        [Connection | _] = proplists:get_value('$ancestors', Dictionary),
        1 = erlang:trace(Connection, true, ['receive']),
        {Stopper, Monitor} = spawn_monitor(fun() -> ok = Name:stop_listener(Ref) end),
        %% Nobody can connect before the connection is told: then the answer is to say so.
        receive {trace, Connection, 'receive', {'EXIT', _, shutdown}} -> ok end,
        Handler ! go,
        #{status := Status} = Answer = http_client:response(Socket),
        receive {'DOWN', Monitor, process, Stopper, normal} -> ok end,
        {Status, http_client:header(<<"connection">>, Answer), http_client:closed(Socket)}
    end).
