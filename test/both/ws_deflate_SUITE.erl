%% permessage-deflate (RFC 7692): what goes over the wire, and what broken input does. What is negotiated is in
%% ws_deflate_negotiation_SUITE.
-module(ws_deflate_SUITE).

-compile([export_all, nowarn_export_all]).

%% Newer Cowboys do not know x-webkit-deflate-frame.
all() ->
    Webkit = [webkit_deflate_frame, webkit_deflate_frames_of_a_large_message],
    same_test:cases(?MODULE) -- [Case || same_test:version(cowboy) >= {2, 20}, Case <- Webkit].

-define(OFFER, [{"Sec-WebSocket-Extensions", "permessage-deflate"}]).
%% "Hello", deflated in a fresh context (RFC 7692 7.2.3.1).
-define(HELLO, <<16#f2, 16#48, 16#cd, 16#c9, 16#c9, 16#07, 16#00>>).

%%% From the server

%% The frames that these commands send on a connection with compression.
sent(Commands, DeflateOpts, Offer) ->
    #{wire := Wire, log := []} = same_test:same(#{handler => {ws_script_h, #{
        opts => #{compress => true, deflate_opts => DeflateOpts},
        websocket_handle => fun(_, State) -> {Commands ++ [close], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server, [{"Sec-WebSocket-Extensions", Offer}]),
        ws_client:send(Socket, {text, <<"go">>}),
        ws_client:recv_all(Socket)
    end),
    {Frames, [close, closed]} = lists:split(length(Wire) - 2, Wire),
    Frames.

hello_by_option(_) ->
    _ = [[{deflated, text, ?HELLO}] = sent([{text, <<"Hello">>}], Opts, "permessage-deflate") || Opts <- [
        #{}, #{level => best_speed}, #{level => 6}, #{mem_level => 1}, #{mem_level => 9}, #{strategy => rle},
        #{strategy => default}, #{strategy => filtered}, #{strategy => huffman_only},
        #{server_max_window_bits => 9}, #{server_context_takeover => no_takeover}]],
    ok.

level_none_stores(_) ->
    [{deflated, text, <<0, 5, 0, 250, 255, "Hello", 0>>}] = sent([{text, <<"Hello">>}], #{level => none},
        "permessage-deflate").

%% RFC 7692 7.2.3.2: the second message refers to the first.
context_takeover(_) ->
    [{deflated, text, ?HELLO}, {deflated, text, <<16#f2, 0, 16#11, 0, 0>>}] =
        sent([{text, <<"Hello">>}, {text, <<"Hello">>}], #{}, "permessage-deflate").

no_context_takeover_by_option(_) ->
    [{deflated, text, ?HELLO}, {deflated, text, ?HELLO}] = sent([{text, <<"Hello">>}, {text, <<"Hello">>}],
        #{server_context_takeover => no_takeover}, "permessage-deflate").

no_context_takeover_by_offer(_) ->
    [{deflated, text, ?HELLO}, {deflated, text, ?HELLO}] = sent([{text, <<"Hello">>}, {text, <<"Hello">>}],
        #{}, "permessage-deflate; server_no_context_takeover").

webkit_deflate_frame(_) ->
    [{deflated, text, ?HELLO}] = sent([{text, <<"Hello">>}], #{}, "x-webkit-deflate-frame").

%% Each frame has the bit, and is inflated for itself. Cowboy sends one, and does not look at what the client asks for.
webkit_deflate_frames_of_a_large_message(_) ->
    Text = iolist_to_binary([[integer_to_binary(N * 7919 rem 100003), " "] || N <- lists:seq(1, 20000)]),
    Check = fun(IsExpected) -> fun(#{wire := Pieces}) ->
        true = IsExpected(length(Pieces)),
        Text = iolist_to_binary(Pieces)
    end end,
    _ = [same_test:differ(large_deflated_message_in_fragments, #{handler => {ws_script_h, #{
        opts => #{compress => true}, websocket_handle => fun(_, State) -> {[{text, Text}], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server, [{"Sec-WebSocket-Extensions", ["x-webkit-deflate-frame" | Parameters]}]),
        ws_client:send(Socket, {text, <<"go">>}),
        webkit_frames(Socket, ws_client:inflater(), Reset)
    end, #{cowboy => Check(fun(Count) -> Count =:= 1 end), outrider => Check(fun(Count) -> Count > 1 end)})
    || {Parameters, Reset} <- [{"", fun(_) -> ok end}, {"; no_context_takeover", fun zlib:inflateReset/1}]],
    ok.

webkit_frames(Socket, Z, Reset) ->
    Frame = ws_client:recv(Socket),
    Reset(Z),
    case Frame of
        {deflated, text, Payload} -> [ws_client:inflate(Z, Payload)];
        {frame, 1, 4, 0, Payload} -> [ws_client:inflate(Z, Payload)];
        {frame, 0, 4, _, Payload} -> [ws_client:inflate(Z, Payload) | webkit_frames(Socket, Z, Reset)]
    end.

binary_is_deflated_and_control_frames_are_not(_) ->
    [{deflated, binary, ?HELLO}, {ping, <<"Hello">>}, {pong, <<"Hello">>}] =
        sent([{binary, <<"Hello">>}, {ping, <<"Hello">>}, {pong, <<"Hello">>}], #{}, "permessage-deflate").

deflate_false_for_the_frames_after_it(_) ->
    [{deflated, text, ?HELLO}, {text, <<"Hello">>}, {deflated, text, <<16#f2, 0, 16#11, 0, 0>>}] =
        sent([{text, <<"Hello">>}, {deflate, false}, {text, <<"Hello">>}, {deflate, true}, {text, <<"Hello">>}],
            #{}, "permessage-deflate").

deflate_true_without_the_extension_is_nothing(_) ->
    [{text, <<"Hello">>}] = sent([{deflate, true}, {text, <<"Hello">>}], #{}, "other").

%% The client's window is the limit for how far back the server's messages refer.
every_window(_) ->
    Text = iolist_to_binary([[integer_to_binary(N rem 3001 * 7919), " "] || N <- lists:seq(1, 9000)]),
    _ = [#{wire := {Text, Text}} = same_test:same(#{handler => {ws_script_h, #{
        opts => #{compress => true, max_frame_size => infinity},
        websocket_handle => fun(_, State) -> {[{text, Text}, {text, Text}], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server, [{"Sec-WebSocket-Extensions",
            ["permessage-deflate; server_max_window_bits=", integer_to_list(Bits)]}]),
        ws_client:send(Socket, {text, <<"go">>}),
        Z = zlib:open(),
        ok = zlib:inflateInit(Z, -Bits),
        {_, One} = ws_client:recv_deflated(Socket),
        {_, Two} = ws_client:recv_deflated(Socket),
        {ws_client:inflate(Z, One), ws_client:inflate(Z, Two)}
    end) || Bits <- [9, 10, 12, 15]],
    ok.

%% A message of more than 64 KiB crosses the port in pieces, and is deflated piece by piece.
a_large_message(_) ->
    Text = iolist_to_binary([[integer_to_binary(N * 7919 rem 100003), " "] || N <- lists:seq(1, 20000)]),
    Check = fun(IsExpected) -> fun(#{wire := {Fragments, Inflated}}) ->
        true = IsExpected(Fragments),
        Text = Inflated
    end end,
    same_test:differ(large_deflated_message_in_fragments, #{handler => {ws_script_h, #{
        opts => #{compress => true}, websocket_handle => fun(_, State) -> {[{text, Text}], State} end
    }}}, fun(Server) ->
        Socket = ws_client:open(Server, ?OFFER),
        ws_client:send(Socket, {text, <<"go">>}),
        {Fragments, Payload} = ws_client:recv_deflated(Socket),
        {Fragments, ws_client:inflate(ws_client:inflater(), Payload)}
    end, #{cowboy => Check(fun(Count) -> Count =:= 1 end), outrider => Check(fun(Count) -> Count > 1 end)}).

empty_messages(_) ->
    Setup = #{handler => {ws_script_h, #{
        opts => #{compress => true},
        websocket_handle => fun(_, State) -> {[{text, <<>>}, {text, <<>>}], State} end
    }}},
    same_test:differ_before({2, 13}, empty_deflated_message, Setup, fun(Server) ->
        Socket = ws_client:open(Server, ?OFFER),
        ws_client:send(Socket, {text, <<"go">>}),
        ws_client:recv(Socket, 2)
    end, #{
        cowboy => fun(#{wire := [{deflated, text, <<0>>}, {deflated, text, <<>>}]}) -> ok end,
        outrider => fun(#{wire := [{deflated, text, <<0>>}, {deflated, text, <<0>>}]}) -> ok end
    }).

%%% From the client

%% What the handler gets for these frames, made with a context that lasts.
handled(Make, Offer) ->
    #{calls := Calls, log := []} = same_test:same(#{handler => {ws_script_h, #{opts => #{compress => true}}}},
        fun(Server) ->
            Socket = ws_client:open(Server, [{"Sec-WebSocket-Extensions", Offer}]),
            ws_client:send(Socket, {raw, Make(ws_client:deflater())}),
            ws_client:send(Socket, {close, 1000, <<>>}),
            ws_client:recv_all(Socket)
        end),
    [websocket_init | Rest] = Calls,
    [{terminate, {remote, 1000, <<>>}}, {exit, normal}] = lists:nthtail(length(Rest) - 2, Rest),
    [Frame || {websocket_handle, Frame} <- Rest].

a_deflated_message(_) ->
    [{text, <<"Hello">>}] = handled(fun(_) -> ws_client:frame(1, 4, 1, ?HELLO) end, "permessage-deflate").

deflated_messages_with_context_takeover(_) ->
    [{text, <<"Hello">>}, {binary, <<"Hello">>}, {text, <<"Hello Hello">>}] = handled(fun(Z) -> [
        ws_client:frame(1, 4, 1, ws_client:deflate(Z, "Hello")),
        ws_client:frame(1, 4, 2, ws_client:deflate(Z, "Hello")),
        ws_client:frame(1, 4, 1, ws_client:deflate(Z, "Hello Hello"))] end, "permessage-deflate").

deflated_messages_without_context_takeover(_) ->
    [{text, <<"Hello">>}, {text, <<"Hello">>}] = handled(fun(_) -> [
        ws_client:frame(1, 4, 1, ?HELLO), ws_client:frame(1, 4, 1, ?HELLO)] end,
        "permessage-deflate; client_no_context_takeover").

plain_messages_after_negotiation(_) ->
    [{text, <<"plain">>}, {text, <<"Hello">>}] = handled(fun(_) -> [
        ws_client:frame(1, 0, 1, <<"plain">>), ws_client:frame(1, 4, 1, ?HELLO)] end, "permessage-deflate").

a_deflated_message_in_fragments(_) ->
    <<One:3/binary, Two/binary>> = ?HELLO,
    [{text, <<"Hello">>}] = handled(fun(_) -> [ws_client:frame(0, 4, 1, One), ws_client:frame(1, 0, 0, Two)] end,
        "permessage-deflate").

%% RSV1 belongs to the first frame only, but clients are known that set it on all.
rsv1_on_every_fragment(_) ->
    <<One:3/binary, Two/binary>> = ?HELLO,
    Frames = fun(_) -> [ws_client:frame(0, 4, 1, One), ws_client:frame(1, 4, 0, Two)] end,
    Handles = fun(Expected) -> fun(#{calls := Calls}) ->
        Expected = lists:member({websocket_handle, {text, <<"Hello">>}}, Calls)
    end end,
    case same_test:version(cowboy) < {2, 20} of
        true ->
            [{text, <<"Hello">>}] = handled(Frames, "permessage-deflate");
        false ->
            same_test:differ(rsv1_on_every_fragment, #{handler => {ws_script_h, #{opts => #{compress => true}}}}, fun(Server) ->
                Socket = ws_client:open(Server, ?OFFER),
                ws_client:send(Socket, {raw, Frames(none)}),
                ws_client:send(Socket, {close, 1000, <<>>}),
                ws_client:recv_all(Socket)
            end, #{cowboy => Handles(false), outrider => Handles(true)})
    end.

an_empty_deflated_message(_) ->
    [{text, <<>>}] = handled(fun(_) -> ws_client:frame(1, 4, 1, <<0>>) end, "permessage-deflate").

deflated_text_beyond_ascii(_) ->
    Text = <<"κόσμε 世界"/utf8>>,
    [{text, Text}] = handled(fun(Z) -> ws_client:frame(1, 4, 1, ws_client:deflate(Z, Text)) end,
        "permessage-deflate").

a_large_deflated_message(_) ->
    Text = binary:copy(<<"0123456789abcdef">>, 40000),
    [{binary, Text}] = handled(fun(Z) -> ws_client:frame(1, 4, 2, ws_client:deflate(Z, Text)) end,
        "permessage-deflate").

empty_control_frames_between_deflated_fragments(_) ->
    <<One:3/binary, Two/binary>> = ?HELLO,
    [ping, pong, {text, <<"Hello">>}] = handled(fun(_) -> [ws_client:frame(0, 4, 1, One),
        ws_client:frame(1, 0, 9, <<>>), ws_client:frame(1, 0, 10, <<>>), ws_client:frame(1, 0, 0, Two)] end,
        "permessage-deflate").

%%% Bad input

%% How a connection with compression ends after these bytes.
ends(Bytes, Opts) ->
    {#{handler => {ws_script_h, #{opts => Opts#{compress => true}}}}, fun(Server) ->
        Socket = ws_client:open(Server, ?OFFER),
        ws_client:send(Socket, {raw, Bytes}),
        ws_client:recv_all(Socket)
    end}.

%% Cowboy inflates the ping's payload with the message's context, and loses both.
a_ping_with_payload_between_deflated_fragments(_) ->
    <<One:3/binary, Two/binary>> = ?HELLO,
    {Setup, Scenario} = ends([ws_client:frame(0, 4, 1, One), ws_client:frame(1, 0, 9, <<"ping">>),
        ws_client:frame(1, 0, 0, Two), ws_client:bytes({close, 1000, <<>>})], #{}),
    same_test:differ_before({2, 20}, control_frame_between_deflated_fragments, Setup, Scenario, #{
        cowboy => fun(#{calls := Calls}) -> false = lists:member({websocket_handle, {text, <<"Hello">>}}, Calls) end,
        outrider => fun(#{wire := [{pong, <<"ping">>}, {close, 1000, <<>>}, closed],
            calls := [_, {websocket_handle, {ping, <<"ping">>}}, {websocket_handle, {text, <<"Hello">>}} | _]}) -> ok end
    }).

a_close_with_a_code_between_deflated_fragments(_) ->
    {Setup, Scenario} = ends([ws_client:frame(0, 4, 1, <<16#f2>>), ws_client:bytes({close, 1000, <<"x">>})], #{}),
    same_test:differ_before({2, 20}, control_frame_between_deflated_fragments, Setup, Scenario, #{
        cowboy => fun(#{wire := [{close, 1007, <<>>}, closed]}) -> ok end,
        outrider => fun(#{wire := [{close, 1000, <<>>}, closed],
            calls := [websocket_init, {terminate, {remote, 1000, <<"x">>}}, {exit, normal}]}) -> ok end
    }).

rsv1_where_it_may_not_be(_) ->
    _ = [begin
        {Setup, Scenario} = ends(Bytes, #{}),
        same_test:differ_before({2, 20}, rsv1_where_it_may_not_be, Setup, Scenario, #{
            cowboy => fun(#{wire := Wire}) -> false = lists:member({close, 1002, <<>>}, Wire) end,
            outrider => fun(#{wire := [{close, 1002, <<>>}, closed],
                calls := [websocket_init, {terminate, {error, badframe}}, {exit, normal}], log := []}) -> ok end
        })
    end || Bytes <- [
        [ws_client:frame(1, 4, 9, <<"ping">>)],
        [ws_client:frame(1, 4, 9, <<>>), ws_client:bytes({close, 1000, <<>>})],
        [ws_client:frame(0, 0, 1, <<"a">>), ws_client:frame(1, 4, 0, <<"b">>)]
    ]],
    ok.

rsv2_and_rsv3_stay_forbidden(_) ->
    _ = [begin
        {Setup, Scenario} = ends(ws_client:frame(1, Rsv, 1, ?HELLO), #{}),
        #{wire := [{close, 1002, <<>>}, closed], calls := [_, {terminate, {error, badframe}}, {exit, normal}]} =
            same_test:same(Setup, Scenario)
    end || Rsv <- [1, 2, 5, 6, 7]],
    ok.

corrupt_data(_) ->
    _ = [begin
        {Setup, Scenario} = ends(Bytes, #{}),
        same_test:differ_before({2, 13}, corrupt_deflated_message, Setup, Scenario, #{
            cowboy => fun(#{wire := [closed], calls := [websocket_init, {exit, _}]}) -> ok end,
            outrider => fun(#{wire := [{close, 1002, <<>>}, closed],
                calls := [websocket_init, {terminate, {error, badframe}}, {exit, normal}], log := []}) -> ok end
        })
    end || Bytes <- [
        ws_client:frame(1, 4, 1, <<255, 255, 255, 255>>),
        ws_client:frame(1, 4, 2, <<"no deflate at all">>),
        [ws_client:frame(0, 4, 1, <<255>>), ws_client:frame(1, 0, 0, <<255, 255>>)]
    ]],
    ok.

bad_utf8_inside_a_deflated_text(_) ->
    {Setup, Scenario} = ends(ws_client:frame(1, 4, 1, ws_client:deflate(ws_client:deflater(), <<"a", 255>>)), #{}),
    #{wire := [{close, 1007, <<>>}, closed], calls := [_, {terminate, {error, badencoding}}, {exit, normal}]} =
        same_test:same(Setup, Scenario).

%% A kilobyte on the wire may be a megabyte in memory. Cowboy counts what is on the wire, before 2.13.
max_frame_size_of_the_inflated_message(_) ->
    Bytes = [ws_client:frame(1, 4, 2, ws_client:deflate(ws_client:deflater(), binary:copy(<<0>>, 20000))),
        ws_client:bytes({close, 1000, <<>>})],
    {Setup, Scenario} = ends(Bytes, #{max_frame_size => 100}),
    same_test:differ_before({2, 13}, inflated_size, Setup, Scenario, #{
        cowboy => fun(#{wire := [{close, 1000, <<>>}, closed]}) -> ok end,
        outrider => fun(#{wire := [{close, 1009, <<>>}, closed],
            calls := [websocket_init, {terminate, {error, badsize}}, {exit, normal}]}) -> ok end
    }).

max_frame_size_allows_the_exact_inflated_size(_) ->
    {Setup, Scenario} = ends([ws_client:frame(1, 4, 2,
        ws_client:deflate(ws_client:deflater(), binary:copy(<<0>>, 100))), ws_client:bytes({close, 1000, <<>>})],
        #{max_frame_size => 100}),
    #{wire := [{close, 1000, <<>>}, closed]} = same_test:same(Setup, Scenario).
