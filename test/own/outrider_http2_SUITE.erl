%% HTTP/2 where Outrider does more than Cowboy, or has nothing to be compared with: clients that take nothing, small frames that nobody
%% reads, drains.
-module(outrider_http2_SUITE).

-import(os_process, [until/1]).
-import(own_case, [server/1]).
-import(http2_client, [open/1, open/2, send/2, head/4, head/5, connect_to/1]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_response_that_the_client_gives_no_window_is_given_up/1, a_websocket_that_the_client_gives_no_window_is_given_up/1]).
-export([a_stream_that_waits_for_the_line_ends_with_its_connection/1, a_stream_that_waits_for_the_line_ends_with_its_reset/1]).
-export([a_client_that_reads_late_is_told_why_its_connection_is_closed/1, a_client_that_reads_nothing_is_not_waited_for/1]).
-export([small_frames_wait_for_a_handler_that_is_slow/1, one_slow_handler_does_not_hold_up_the_others_of_its_client/1]).
-export([a_drained_connection_goes_away_when_its_streams_have_ended/1, a_listener_that_stops_closes_websockets_with_1001/1]).
-export([a_client_that_resets_a_websocket_that_nobody_reads/1, a_response_that_is_reset_while_it_waits_for_the_client_ends/1]).
-export([a_websocket_that_is_reset_before_its_process_has_begun_it/1, every_code_of_a_reset_is_known/1]).
-export([the_handler_of_a_head_hears_that_its_client_has_gone/1]).
-export([a_module_that_calls_cowboys_upgrade_itself/1, options_that_are_refused/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(options_that_are_refused, Config) ->
    same_test:start([outrider]),
    Config;
init_per_testcase(Case, Config) ->
    own_case:init(Case, #{routes => routes(), transport => transport(Case), protocol => protocol(Case)}, Config).

end_per_testcase(options_that_are_refused, _) ->
    ok;
end_per_testcase(Case, _) ->
    own_case:stop(Case).

transport(Case) when
    Case =:= a_response_that_the_client_gives_no_window_is_given_up;
    Case =:= a_websocket_that_the_client_gives_no_window_is_given_up
->
    #{socket_opts => [{port, 0}, {send_timeout, 300}]};
transport(Case) when
    Case =:= a_client_that_reads_late_is_told_why_its_connection_is_closed;
    Case =:= a_client_that_reads_nothing_is_not_waited_for;
    Case =:= a_stream_that_waits_for_the_line_ends_with_its_connection;
    Case =:= a_stream_that_waits_for_the_line_ends_with_its_reset;
    Case =:= a_response_that_is_reset_while_it_waits_for_the_client_ends
->
    #{socket_opts => [{port, 0}, {send_timeout, infinity}, {sndbuf, 65536}]};
transport(_) ->
    #{}.

protocol(a_client_that_reads_late_is_told_why_its_connection_is_closed) ->
    #{idle_timeout => 300, stream_handlers => [chain_stream_h, cowboy_stream_h]};
protocol(a_client_that_reads_nothing_is_not_waited_for) ->
    #{max_headers => 10, idle_timeout => infinity};
protocol(Case) when
    Case =:= a_stream_that_waits_for_the_line_ends_with_its_connection;
    Case =:= a_stream_that_waits_for_the_line_ends_with_its_reset;
    Case =:= a_response_that_is_reset_while_it_waits_for_the_client_ends
->
    #{stream_handlers => [chain_stream_h, cowboy_stream_h]};
protocol(_) ->
    #{enable_connect_protocol => true}.

routes() ->
    [
        {"/", ws_script_h, #{silent => true, websocket_handle => fun handle/2, websocket_info => fun handle/2}},
        {"/upgrade", upgrade_h, #{silent => true, websocket_handle => fun handle/2}},
        {"/large", http_script_h, #{init => fun(Req, State) ->
            {ok, cowboy_req:reply(200, #{}, binary:copy(<<0>>, 1000000), Req), State}
        end}},
        {"/endless", http_script_h, #{init => fun(Req, _) -> endless(cowboy_req:stream_reply(200, Req)) end}},
        {"/loop", http_script_h, #{
            init => fun(Req, State) -> {cowboy_loop, cowboy_req:stream_reply(200, Req), State} end,
            info => fun(_, Req, State) -> {ok, Req, State} end
        }},
        {"/later/:first", ws_script_h, #{init => fun later/2, websocket_init => fun(#{first := First} = State) -> {First, State} end}},
        {"/part", http_script_h, #{init => fun(Req, _) ->
            ok = cowboy_req:stream_body(<<"part">>, nofin, cowboy_req:stream_reply(200, Req)),
            receive never -> ok end
        end}},
        {"/wait", http_script_h, #{silent => true, init => fun(Req, #{probe := Probe} = State) ->
            register(?MODULE, self()),
            probe:note(Probe, waits),
            receive go -> {ok, cowboy_req:reply(200, Req), State} end
        end}}
    ].

later(#{pid := Stream} = Req, #{probe := Probe} = State) ->
    Name = cowboy_req:binding(first, Req),
    probe:note(Probe, {later, Name, self(), Stream}),
    First = case Name of
        <<"nothing">> -> [];
        <<"passive">> -> [{active, false}];
        <<"large">> -> [{binary, binary:copy(<<0>>, 1000000)}, {text, <<"x">>}]
    end,
    receive go -> {cowboy_websocket, Req, State#{first => First}} end.

endless(Req) ->
    ok = cowboy_req:stream_body(binary:copy(<<0>>, 65536), nofin, Req),
    endless(Req).

handle({text, <<"large">>}, State) -> {[{binary, binary:copy(<<0>>, 1000000)}], State};
handle({text, <<"stop reading">>}, #{probe := Probe} = State) ->
    probe:note(Probe, stops),
    %% Of several the first one has the name.
    _ = try register(?MODULE, self()) catch error:badarg -> false end,
    {[{active, false}], State};
handle(read, State) -> {[{active, true}], State};
handle(Frame, State) -> {[Frame], State}.

opened(Socket, Stream) ->
    ok = send(Socket, connect_to(Stream)),
    http2_client:until(Socket, fun(Event) -> element(1, Event) =:= headers end),
    ok.

frames(Socket, Stream, Frames) ->
    ok = send(Socket, cow_http2:data(Stream, nofin, ws_client:bytes(Frames))).

%% So many bytes of a stream, whose windows are given back.
payload(_, _, Size, Bytes) when byte_size(Bytes) >= Size ->
    Bytes;
payload(Socket, Stream, Size, Bytes) ->
    case http2_client:next(Socket) of
        {data, Stream, _, More} ->
            ok = send(Socket, [cow_http2:window_update(Id, byte_size(More)) || Id <- [Stream], More =/= <<>>]),
            ok = send(Socket, [cow_http2:window_update(byte_size(More)) || More =/= <<>>]),
            payload(Socket, Stream, Size, <<Bytes/binary, More/binary>>);
        Event when is_tuple(Event) ->
            payload(Socket, Stream, Size, Bytes)
    end.

a_response_that_the_client_gives_no_window_is_given_up(Config) ->
    Socket = open(server(Config), #{initial_window_size => 0}),
    ok = send(Socket, head(1, fin, <<"GET">>, <<"/large">>)),
    {reset, cancel} = http2_client:response(Socket, 1),
    %% The connection goes on.
    ok = send(Socket, head(3, fin, <<"GET">>, <<"/none">>)),
    #{status := 404} = http2_client:response(Socket, 3).

a_websocket_that_the_client_gives_no_window_is_given_up(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = open(Server, #{initial_window_size => 0}),
    ok = opened(Socket, 1),
    frames(Socket, 1, {text, <<"large">>}),
    probe:await(Probe, {terminate, {error, timeout}}).

a_stream_that_waits_for_the_line_ends_with_its_connection(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = waiting(Server),
    ok = gen_tcp:close(Socket),
    {socket_error, closed, _} = ended(Probe, 3).

a_stream_that_waits_for_the_line_ends_with_its_reset(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = waiting(Server),
    ok = send(Socket, cow_http2:rst_stream(3, cancel)),
    cancel = ended(Probe, 3).

%% Its process waits for credit that does not come any more.
a_response_that_is_reset_while_it_waits_for_the_client_ends(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = waiting(Server),
    ok = send(Socket, cow_http2:rst_stream(1, cancel)),
    cancel = ended(Probe, 1).

%% A client with windows for all there is, which reads nothing: when its connection and stream 1 are blocked, stream 3 is, too.
waiting(#{ref := Ref} = Server) ->
    Socket = open(Server, #{initial_window_size => 16#7fffffff}),
    ok = send(Socket, [cow_http2:window_update(16#7fff0000 - 65535), head(1, fin, <<"GET">>, <<"/endless">>)]),
    until(fun() -> blocked(Ref) =:= 2 end),
    ok = send(Socket, head(3, fin, <<"GET">>, <<"/part">>)),
    until(fun() -> blocked(Ref) =:= 3 end),
    Socket.

blocked(Ref) ->
    #{sidecars := [#{metrics := #{clients_blocked := Blocked}}]} = outrider:metrics(Ref),
    Blocked.

ended(Probe, Stream) ->
    {terminate, Stream, Reason} = probe:await(Probe, fun(Event) ->
        is_tuple(Event) andalso element(1, Event) =:= terminate andalso element(2, Event) =:= Stream
    end),
    Reason.

a_client_that_reads_late_is_told_why_its_connection_is_closed(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = waiting(Server),
    _ = ended(Probe, 3),
    [closed, {goaway, no_error} | _] = lists:reverse(http2_client:all(Socket)).

a_client_that_reads_nothing_is_not_waited_for(Config) ->
    #{ref := Ref} = Server = server(Config),
    Socket = waiting(Server),
    ok = send(Socket, http2_client:head(5, fin, <<"GET">>, <<"/">>, [{<<"a">>, integer_to_binary(N)} || N <- lists:seq(1, 20)])),
    until(fun() -> #{sidecars := [#{metrics := #{connections := #{http := Http}}}]} = outrider:metrics(Ref), Http =:= 0 end).

%% 3000 messages of one byte: h2 alone would close the connection for them.
small_frames_wait_for_a_handler_that_is_slow(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = open(Server),
    ok = opened(Socket, 1),
    frames(Socket, 1, {text, <<"stop reading">>}),
    probe:await(Probe, stops),
    _ = [frames(Socket, 1, {text, <<"x">>}) || _ <- lists:seq(1, 3000)],
    %% All of it has come by then.
    ok = send(Socket, head(3, fin, <<"GET">>, <<"/none">>)),
    #{status := 404} = http2_client:response(Socket, 3),
    ?MODULE ! read,
    9000 = byte_size(payload(Socket, 1, 9000, <<>>)).

a_client_that_resets_a_websocket_that_nobody_reads(Config) ->
    #{probe := Probe, ref := Ref} = Server = server(Config),
    Socket = open(Server),
    ok = opened(Socket, 1),
    frames(Socket, 1, {text, <<"stop reading">>}),
    probe:await(Probe, stops),
    ok = send(Socket, cow_http2:rst_stream(1, cancel)),
    probe:await(Probe, {terminate, {error, closed}}),
    os_process:until(fun() -> outrider:connections(Ref) =:= [] end),
    [#{reason := {error, closed}}] = outrider:connections(Ref, #{filter => #{state => closed}}),
    %% Its sidecar has forgotten it, too: else this would wait for it.
    ok = outrider:stop_listener(Ref).

%% Its process hears of the reset as of a request's, when it is one of a WebSocket already.
a_websocket_that_is_reset_before_its_process_has_begun_it(Config) ->
    #{probe := Probe} = Server = server(Config),
    _ = [begin
        Socket = open(Server),
        ok = send(Socket, head(1, nofin, <<"CONNECT">>, ["/later/", First], [
            {<<":protocol">>, <<"websocket">>}, {<<"sec-websocket-version">>, <<"13">>}
        ])),
        {later, _, Request, Stream} = probe:await(Probe, fun({later, Name, _, _}) -> Name =:= list_to_binary(First); (_) -> false end),
        Monitor = monitor(process, Stream),
        true = erlang:suspend_process(Stream),
        Request ! go,
        until(fun() -> waits(Stream, fun({_, Message}) -> element(1, Message) =:= switch_protocol; (_) -> false end) end),
        ok = send(Socket, cow_http2:rst_stream(1, cancel)),
        until(fun() -> waits(Stream, fun({_, {closed, _}}) -> true; (_) -> false end) end),
        true = erlang:resume_process(Stream),
        receive {'DOWN', Monitor, process, Stream, _} -> ok end
    end || First <- ["nothing", "passive", "large"]],
    [{error, closed}, {error, closed}, {error, closed}] = [Reason || {terminate, Reason} <- probe:calls(Probe)].

%% In a VM that has not loaded what Cowlib has for HTTP/2, and whose sidecar brings the codes' names: as any before its release.
every_code_of_a_reset_is_known(_) ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    %% It waits for a body.
    Route = {"/", http_script_h, #{silent => true, init => fun cowboy_req:read_body/2}},
    Server = peer:call(Peer, own_case, listen, [codes, #{routes => [Route]}]),
    Info = fun() -> peer:call(Peer, outrider, info, [codes]) end,
    #{sidecars := [#{os_pid := OsPid}]} = Info(),
    false = peer:call(Peer, code, is_loaded, [cow_http2]),
    Socket = open(Server),
    _ = [begin
        ok = send(Socket, head(Stream, nofin, <<"POST">>, <<"/">>)),
        until(fun() -> maps:get(active_connections, Info()) =:= 1 end),
        ok = send(Socket, http2_client:frame(3, 0, Stream, <<Code:32>>)),
        until(fun() -> maps:get(active_connections, Info()) =:= 0 end),
        {Code, #{sidecars := [#{os_pid := OsPid}]}} = {Code, Info()}
    end || {Code, Stream} <- lists:zip(lists:seq(0, 14), lists:seq(1, 29, 2))],
    ok = peer:stop(Peer).

%% There is such a message in its mailbox.
waits(Pid, Is) ->
    {messages, Messages} = process_info(Pid, messages),
    lists:any(Is, Messages).

one_slow_handler_does_not_hold_up_the_others_of_its_client(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = open(Server),
    _ = [begin
        ok = opened(Socket, Stream),
        frames(Socket, Stream, {text, <<"stop reading">>}),
        probe:await(Probe, stops),
        %% All that its window has, but for what was said already.
        _ = [frames(Socket, Stream, {binary, <<0:(8 * 16000)>>}) || _ <- lists:seq(1, 4)]
    end || Stream <- lists:seq(1, 40, 2)],
    ok = opened(Socket, 101),
    frames(Socket, 101, {text, <<"x">>}),
    <<129, 1, "x">> = payload(Socket, 101, 3, <<>>).

a_drained_connection_goes_away_when_its_streams_have_ended(Config) ->
    #{probe := Probe, ref := Ref} = Server = server(Config),
    Socket = open(Server),
    ok = send(Socket, head(1, fin, <<"GET">>, <<"/wait">>)),
    probe:await(Probe, waits),
    {Drainer, Monitor} = spawn_monitor(fun() -> outrider:drain(Ref, #{}) end),
    [{goaway, no_error} | _] = lists:reverse(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= goaway end)),
    ?MODULE ! go,
    Rest = http2_client:all(Socket),
    true = lists:any(fun(Event) -> is_tuple(Event) andalso element(1, Event) =:= headers end, Rest),
    closed = lists:last(Rest),
    receive {'DOWN', Monitor, process, Drainer, _} -> ok end.

a_listener_that_stops_closes_websockets_with_1001(Config) ->
    #{ref := Ref} = Server = server(Config),
    Socket = open(Server),
    ok = opened(Socket, 1),
    ok = opened(Socket, 3),
    ok = outrider:stop_listener(Ref),
    Events = http2_client:all(Socket),
    [<<136, 2, 1001:16>>, <<136, 2, 1001:16>>] = [Bytes || {data, _, _, Bytes} <- Events, Bytes =/= <<>>].

%% Its process becomes Cowboy's own WebSocket, as in Cowboy.
a_module_that_calls_cowboys_upgrade_itself(Config) ->
    Socket = open(server(Config)),
    ok = send(Socket, http2_client:head(1, nofin, <<"CONNECT">>, <<"/upgrade">>, [
        {<<":protocol">>, <<"websocket">>}, {<<"sec-websocket-version">>, <<"13">>}
    ])),
    [{headers, 1, nofin, [{<<":status">>, <<"200">>} | _]} | _] =
        lists:reverse(http2_client:until(Socket, fun(Event) -> element(1, Event) =:= headers end)),
    frames(Socket, 1, {text, <<"x">>}),
    <<129, 1, "x">> = payload(Socket, 1, 3, <<>>).

%% The client has all of the answer, h2 is done with the stream, and the handler still runs.
the_handler_of_a_head_hears_that_its_client_has_gone(Config) ->
    #{probe := Probe} = Server = server(Config),
    Socket = open(Server),
    ok = send(Socket, head(1, fin, <<"HEAD">>, <<"/loop">>)),
    #{status := 200} = http2_client:response(Socket, 1),
    probe:process(Probe) ! still_there,
    {info, still_there} = probe:await(Probe, {info, still_there}),
    ok = gen_tcp:close(Socket),
    {exit, shutdown} = probe:await_exit(Probe).

options_that_are_refused(_) ->
    _ = [{error, {bad_option, Key}} = outrider:start_clear(?MODULE, [{port, 0}], #{Key => Value})
        || {Key, Value} <- [
            {protocols, []}, {protocols, [spdy]}, {alpn_default_protocol, spdy}, {max_concurrent_streams, -1},
            {initial_stream_window_size, 16#80000000}, {initial_connection_window_size, 65534},
            {max_frame_size_received, 16383}, {max_frame_size_received, 16777216},
            {max_fragmented_header_block_size, 16383}, {max_received_frame_rate, 10}, {max_reset_stream_rate, {0, 10}},
            {max_cancel_stream_rate, {10, -1}}, {enable_connect_protocol, 1}, {goaway_initial_timeout, x}
        ]],
    ok.
