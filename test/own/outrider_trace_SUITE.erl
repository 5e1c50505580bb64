%% outrider:trace/2: the frames of one WebSocket as they pass.
-module(outrider_trace_SUITE).

-include_lib("common_test/include/ct.hrl").

-import(os_process, [something/1]).

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([each_frame_is_told_and_nothing_of_its_content/1, content_is_told_if_asked_for/1, compressed_frames_are_told_as_they_are/1]).
-export([what_is_sent_to_many_is_told/1, it_begins_within_a_large_message_both_ways/1, it_is_so_over_tls/1]).
-export([it_ends_after_its_frames/1, it_ends_after_its_time/1, it_ends_with_the_websocket/1, it_ends_with_who_gets_it/1]).
-export([it_can_be_stopped/1, it_ends_with_the_sidecar/1, one_is_traced_once_and_a_sidecar_has_16_at_most/1]).
-export([bad_options_are_refused/1, others_are_not_told_of/1]).
-export([frames_that_wait_for_the_handler_are_not_told/1]).
-export([a_file_has_the_frames_and_tshark_reads_it/1, a_file_that_exists_is_left_alone/1]).

all() ->
    same_test:cases(?MODULE).

init_per_testcase(Case, Config) ->
    [{listener, Case} | Config].

end_per_testcase(Case, _) ->
    own_case:stop(Case).

each_frame_is_told_and_nothing_of_its_content(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    Before = erlang:system_time(microsecond),
    {ok, Trace} = outrider:trace(Pid, #{}),
    ok = ws_client:send(Socket, [{text, <<"secret">>}, {ping, <<"12">>}, {raw, ws_client:frame(0, 0, 2, <<"a">>)},
        {raw, ws_client:frame(1, 0, 0, <<"bc">>)}]),
    [{binary, <<"abc">>}, {pong, <<"12">>}, {text, <<"secret">>}] = lists:sort(ws_client:recv(Socket, 3)),
    Large = binary:copy(<<"x">>, 100000),
    ok = ws_client:send(Socket, {binary, Large}),
    {binary, Large} = ws_client:recv(Socket),
    ok = ws_client:send(Socket, {close, 1000, <<"bye">>}),
    {close, 1000, <<>>} = ws_client:recv(Socket),
    {Frames, #{reason := closed, missed := 0, frames := 11}} = told(Trace),
    true = lists:all(fun(#{time := Time} = Frame) ->
        Time >= Before andalso Time =< erlang:system_time(microsecond) andalso not is_map_key(content, Frame)
    end, Frames),
    [
        {text, true, 0, 6}, {ping, true, 0, 2}, {binary, false, 0, 1}, {continuation, true, 0, 2}, {binary, true, 0, 100000}, {close, true, 0, 5}
    ] = short(in, Frames),
    [{binary, true, 0, 3}, {binary, true, 0, 100000}, {close, true, 0, 2}, {pong, true, 0, 2}, {text, true, 0, 6}] =
        lists:sort(short(out, Frames)).

content_is_told_if_asked_for(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    {ok, Trace} = outrider:trace(Pid, #{content => 5}),
    _ = [begin
        ok = ws_client:send(Socket, {text, Text}),
        {text, Text} = ws_client:recv(Socket)
    end || Text <- [<<>>, <<"four">>, <<"five5">>, <<"sixsix">>]],
    ok = outrider:stop_trace(Trace),
    {Frames, #{reason := stopped}} = told(Trace),
    [<<>>, <<"four">>, <<"five5">>, <<"sixsi">>] = [Content || #{direction := in, content := Content} <- Frames],
    [<<>>, <<"four">>, <<"five5">>, <<"sixsi">>] = [Content || #{direction := out, content := Content} <- Frames],
    [0, 0, 4, 4, 5, 5, 6, 6] = [Size || #{size := Size} <- Frames].

compressed_frames_are_told_as_they_are(Config) ->
    {Socket, Pid} = traced(Config, #{compress => true}, [{"Sec-WebSocket-Extensions", "permessage-deflate"}]),
    {ok, Trace} = outrider:trace(Pid, #{frames => 2}),
    Text = binary:copy(<<"again ">>, 1000),
    ok = ws_client:send(Socket, {text, Text}),
    {deflated, text, Payload} = ws_client:recv(Socket),
    {Frames, _} = told(Trace),
    [{text, true, 0, 6000}] = short(in, Frames),
    [{text, true, 4, Size}] = short(out, Frames),
    Size = byte_size(Payload).

what_is_sent_to_many_is_told(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    {ok, Trace} = outrider:trace(Pid, #{frames => 2}),
    1 = outrider:send_many([Pid], [{text, <<"for many">>}, ping]),
    [{text, <<"for many">>}, ping] = ws_client:recv(Socket, 2),
    {Frames, #{reason := frames}} = told(Trace),
    [{text, true, 0, 8}, {ping, true, 0, 0}] = short(out, Frames).

%% The first frame that is told is one that begins after the order.
it_begins_within_a_large_message_both_ways(Config) ->
    #{probe := Probe} = Server = listen(Config, #{max_frame_size => infinity}),
    Socket = http_client:connect(Server, [{recbuf, 4096}]),
    #{status := 101} = ws_client:upgrade(Socket, []),
    Pid = probe:process(Probe),
    Large = rand:bytes(3000000),
    Bytes = iolist_to_binary(ws_client:bytes({binary, Large})),
    ok = http_client:send(Socket, binary:part(Bytes, 0, 1000000)),
    _ = something(fun() -> [C || #{bytes_in := N} = C <- [outrider:connection(Pid)], N > 800000] end),
    {ok, First} = outrider:trace(Pid, #{frames => 3}),
    ok = http_client:send(Socket, [binary:part(Bytes, 1000000, byte_size(Bytes) - 1000000), ws_client:bytes({ping, <<"1">>})]),
    %% Its echo is written as far as the client takes it.
    _ = something(fun() -> [C || #{state := blocked} = C <- [outrider:connection(Pid)]] end),
    ok = outrider:stop_trace(First),
    {Told, _} = told(First),
    [ping] = [Opcode || #{direction := in, opcode := Opcode} <- Told],
    [{pong, true, 0, 1}, {binary, true, 0, 3000000}] = short(out, Told),
    {ok, Second} = outrider:trace(Pid, #{frames => 2}),
    {pong, <<"1">>} = ws_client:recv(Socket),
    {binary, Large} = ws_client:recv(Socket),
    ok = ws_client:send(Socket, {ping, <<"22">>}),
    {pong, <<"22">>} = ws_client:recv(Socket),
    {Frames, #{reason := frames}} = told(Second),
    {[{ping, true, 0, 2}], [{pong, true, 0, 2}]} = {short(in, Frames), short(out, Frames)}.

%% They have passed before.
frames_that_wait_for_the_handler_are_not_told(Config) ->
    #{probe := Probe} = Server = own_case:listen(proplists:get_value(listener, Config), #{
        transport => #{window => 20000},
        routes => [{"/", ws_script_h, #{silent => true, websocket_handle => fun
            ({text, <<"wait">>}, State) -> receive go -> {[], State} end;
            (_, State) -> {[], State}
        end}}]
    }),
    Socket = ws_client:open(Server),
    Pid = probe:process(Probe),
    Sent = fun(Number) -> something(fun() -> [C || #{messages_in := N} = C <- [outrider:connection(Pid)], N >= Number] end) end,
    ok = ws_client:send(Socket, [{text, <<"wait">>} | [{text, <<"12345">>} || _ <- lists:seq(1, 2000)]]),
    %% The window is full, in the midst of what was read.
    [#{messages_in := Decoded}] = Sent(100),
    true = Decoded < 1000,
    {ok, Trace} = outrider:trace(Pid, #{frames => 100000}),
    Pid ! go,
    _ = Sent(2001),
    ok = ws_client:send(Socket, {text, <<"last">>}),
    _ = Sent(2002),
    ok = outrider:stop_trace(Trace),
    {Frames, #{reason := stopped}} = told(Trace),
    #{opcode := text, size := 4} = lists:last(Frames).

it_is_so_over_tls(Config) ->
    Ref = proplists:get_value(listener, Config),
    same_test:start([outrider, ssl]),
    Protocol = own_case:protocol([{"/", ws_script_h, script(#{})}], probe:start()),
    {ok, _} = outrider:start_tls(Ref, [{port, 0} | tls_tunnel:certificate()], Protocol),
    {ok, Socket} = ssl:connect("localhost", outrider:get_port(Ref), [{verify, verify_none}, {active, false}, binary]),
    ok = ssl:send(Socket, ws_client:handshake("/")),
    {ok, <<"HTTP/1.1 101", _/binary>>} = ssl:recv(Socket, 0, 10000),
    [#{pid := Pid}] = outrider:connections(Ref),
    {ok, Trace} = outrider:trace(Pid, #{frames => 2, content => 10}),
    ok = ssl:send(Socket, ws_client:bytes({text, <<"hello">>})),
    {ok, <<16#81, 5, "hello">>} = ssl:recv(Socket, 7, 10000),
    {[#{direction := in, content := <<"hello">>}, #{direction := out, content := <<"hello">>}], _} = told(Trace).

it_ends_after_its_frames(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    {ok, Trace} = outrider:trace(Pid, #{frames => 3}),
    {error, traced} = outrider:trace(Pid, #{}),
    ok = ws_client:send(Socket, [{text, <<N>>} || N <- lists:seq(1, 10)]),
    _ = ws_client:recv(Socket, 10),
    {[_, _, _], #{reason := frames, frames := 3, missed := 0}} = told(Trace),
    {ok, _} = outrider:trace(Pid, #{}).

%% Whether or not a frame passes.
it_ends_after_its_time(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    {ok, Quiet} = outrider:trace(Pid, #{time => 100}),
    {[], #{reason := time}} = told(Quiet),
    {ok, Busy} = outrider:trace(Pid, #{time => 100, frames => 100000}),
    Talking = spawn_link(fun Talk() ->
        ok = ws_client:send(Socket, {text, <<"x">>}),
        {text, <<"x">>} = ws_client:recv(Socket),
        Talk()
    end),
    {[_ | _], #{reason := _}} = told(Busy),
    unlink(Talking),
    exit(Talking, kill).

it_ends_with_the_websocket(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    {ok, Trace} = outrider:trace(Pid, #{}),
    http_client:close(Socket),
    {[], #{reason := closed}} = told(Trace),
    {error, not_found} = outrider:trace(Pid, #{}).

it_ends_with_who_gets_it(Config) ->
    {_Socket, Pid} = traced(Config, #{}, []),
    Reader = spawn(fun() -> receive stop -> ok end end),
    {ok, Trace} = outrider:trace(Pid, #{to => Reader}),
    Monitor = monitor(process, Trace),
    Reader ! stop,
    receive {'DOWN', Monitor, process, _, normal} -> ok end,
    {ok, _} = something(fun() -> case outrider:trace(Pid, #{}) of {error, traced} -> []; Result -> Result end end),
    ok.

it_can_be_stopped(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    {ok, Trace} = outrider:trace(Pid, #{}),
    ok = ws_client:send(Socket, {text, <<"x">>}),
    {text, <<"x">>} = ws_client:recv(Socket),
    ok = outrider:stop_trace(Trace),
    {[_, _], #{reason := stopped, frames := 2}} = told(Trace),
    ok = ws_client:send(Socket, {text, <<"x">>}),
    {text, <<"x">>} = ws_client:recv(Socket),
    receive {outrider, trace, _, _} -> error(not_stopped) after 0 -> ok end.

it_ends_with_the_sidecar(Config) ->
    {_Socket, Pid} = traced(Config, #{}, []),
    {ok, Trace} = outrider:trace(Pid, #{}),
    ok = os_process:signal(os_process:sidecar(proplists:get_value(listener, Config)), "KILL"),
    {[], #{reason := closed}} = told(Trace).

one_is_traced_once_and_a_sidecar_has_16_at_most(Config) ->
    Server = #{ref := Ref} = listen(Config, #{}),
    Sockets = [ws_client:open(Server) || _ <- lists:seq(1, 17)],
    [Last | Ids] = [Id || #{id := Id} <- outrider:connections(Ref)],
    Traces = [begin
        {ok, Trace} = outrider:trace(Id, #{}),
        {error, _} = outrider:trace(Id, #{}),
        Trace
    end || Id <- Ids],
    {error, too_many} = outrider:trace(Last, #{}),
    ok = outrider:stop_trace(hd(Traces)),
    {[], _} = told(hd(Traces)),
    {ok, _} = outrider:trace(Last, #{}),
    lists:foreach(fun http_client:close/1, Sockets).

bad_options_are_refused(Config) ->
    {_Socket, Pid} = traced(Config, #{}, []),
    _ = [{Key, {error, {bad_option, Key}}} = {Key, outrider:trace(Pid, #{Key => Value})} || {Key, Value} <- [
        {frames, 0}, {frames, 100001}, {frames, infinity}, {time, 0}, {time, 600001}, {content, -1}, {content, 65537}, {content, all},
        {to, file}, {to, {file, 1}}, {colour, red}
    ]],
    {error, not_found} = outrider:trace(self(), #{}),
    {error, enoent} = outrider:trace(Pid, #{to => {file, "/no/such/folder/file"}}),
    {ok, Trace} = outrider:trace(Pid, #{frames => 100000, time => 600000, content => 671}),
    ok = outrider:stop_trace(Trace),
    _ = told(Trace),
    {error, {bad_option, content}} = outrider:trace(Pid, #{frames => 100000, content => 672}),
    {ok, _} = outrider:trace(Pid, #{frames => 1024, content => 65536}).

others_are_not_told_of(Config) ->
    {_Socket, Pid} = traced(Config, #{}, []),
    Server = #{ref => proplists:get_value(listener, Config), port => outrider:get_port(proplists:get_value(listener, Config)), name => outrider},
    Other = ws_client:open(Server),
    {ok, Trace} = outrider:trace(Pid, #{}),
    ok = ws_client:send(Other, {text, <<"other">>}),
    {text, <<"other">>} = ws_client:recv(Other),
    ok = outrider:stop_trace(Trace),
    {[], _} = told(Trace).

a_file_has_the_frames_and_tshark_reads_it(Config) ->
    {Socket, Pid} = traced(Config, #{}, []),
    {ok, {_, Port}} = inet:sockname(Socket),
    Name = filename:join([?config(priv_dir, Config), "traces", "trace.pcap"]),
    ok = filelib:ensure_dir(Name),
    {ok, Trace} = outrider:trace(Pid, #{to => {file, Name}, content => 3}),
    Monitor = monitor(process, Trace),
    ok = ws_client:send(Socket, [{text, <<"hello">>}, {ping, <<"12">>}]),
    _ = ws_client:recv(Socket, 2),
    ok = outrider:stop_trace(Trace),
    receive {'DOWN', Monitor, process, _, normal} -> ok end,
    {ok, <<16#a1b2c3d4:32, 2:16, 4:16, 0:64, _:32, 252:32, Packets/binary>>} = file:read_file(Name),
    {ok, Info} = file:read_file_info(Name),
    8#600 = element(8, Info) band 8#777,
    {ok, ["trace.pcap"]} = file:list_dir(filename:dirname(Name)),
    Frames = [Frame || {_, Frame} <- packets(Packets)],
    Text = iolist_to_binary(ws_client:bytes({text, <<"hello">>})),
    Recorded = byte_size(Text) - 2,
    <<First:Recorded/binary, _/binary>> = Text,
    [First, _, _, _] = lists:sort(fun(A, _) -> A =:= First end, Frames),
    true = lists:member(<<16#81, 5, "hel">>, Frames),
    Said = os:cmd("tshark -r " ++ Name ++ " -T fields -e websocket.opcode -e websocket.mask -e websocket.payload_length "
        "-e exported_pdu.src_port 2>/dev/null"),
    Lines = [string:lexemes(Line, "\t") || Line <- string:lexemes(Said, "\n")],
    true = lists:member(["1", mask("1"), "5", integer_to_list(Port)], [[O, mask(M), L, P] || [O, M, L, P] <- Lines]) orelse error(Said),
    4 = length(Lines).

mask("True") -> "1";
mask("False") -> "0";
mask(Bit) -> Bit.

packets(<<>>) ->
    [];
packets(<<Seconds:32, _:32, Length:32, OnTheWire:32, Packet:Length/binary, Rest/binary>>) ->
    true = OnTheWire >= Length andalso abs(erlang:system_time(second) - Seconds) < 100,
    [untagged(Packet, []) | packets(Rest)].

untagged(<<0:16, 0:16, Frame/binary>>, Tags) ->
    {Tags, Frame};
untagged(<<Tag:16, Length:16, Value:Length/binary, Rest/binary>>, Tags) ->
    untagged(Rest, [{Tag, Value} | Tags]).

a_file_that_exists_is_left_alone(Config) ->
    {_Socket, Pid} = traced(Config, #{}, []),
    Name = filename:join(?config(priv_dir, Config), "there"),
    ok = file:write_file(Name, <<"mine">>),
    {error, eexist} = outrider:trace(Pid, #{to => {file, Name}}),
    {ok, <<"mine">>} = file:read_file(Name),
    {ok, _} = outrider:trace(Pid, #{}).

%%% Help.

%% A WebSocket whose handler echoes, and its process.
traced(Config, Options, Headers) ->
    Server = #{probe := Probe} = listen(Config, Options),
    Socket = ws_client:open(Server, Headers),
    {Socket, probe:process(Probe)}.

listen(Config, Options) ->
    own_case:listen(proplists:get_value(listener, Config), #{routes => [{"/", ws_script_h, script(Options)}]}).

script(Options) ->
    #{opts => Options, websocket_handle => fun
        ({Type, _} = Frame, State) when Type =:= text; Type =:= binary -> {[Frame], State};
        (_, State) -> {[], State}
    end}.

%% The frames of a trace, and its end.
told(Trace) ->
    receive
        {outrider, trace, Trace, Frame} ->
            {Frames, End} = told(Trace),
            {[Frame | Frames], End};
        {outrider, trace_end, Trace, End} ->
            {[], End}
    after 20000 ->
        error(no_end)
    end.

short(Direction, Frames) ->
    [{Opcode, Fin, Rsv, Size} || #{direction := D, opcode := Opcode, fin := Fin, rsv := Rsv, size := Size} <- Frames, D =:= Direction].
