%%% The VM's side of the port protocol (docs/port-protocol.md): packets in, terms out; commands in, packets out. Pure.
%%%
%%% A packet down is a list of bundles: one stream and its commands each. The commands that carry a handler's frames are
%%% written by hand, byte by byte, in the external term format: a payload that is a binary goes into the packet as the
%%% handler gave it, and is not copied here. Everything else goes through term_to_iovec/1. Packets up are read by
%%% binary_to_term/2 with safe: all atoms of the protocol are in atoms/0, so that a packet can only name an atom that exists,
%%% and no client can make one.
-module(outrider_protocol).

-export([version/0, decode/1, atoms/0]).
-export([message/3, frame/1, frames/1, pieces/3, command/1, bundle/3, bundle/2, packet/2]).
-export_type([frame/0, bundle/0]).

-define(VERSION, 1).
%% The most payload that one packet carries down, but for broadcasts, so that one client's message does not hold up the others.
-define(PIECE, 65536).
%% A larger packet is not of the protocol, in either direction: payloads cross in pieces of 64 KiB, but for broadcasts, of which
%% one has 15 MiB at most.
-define(MAX_PACKET, 16777216).
%% The bytes of a packet around its bundles.
-define(AROUND, 7).
%% What a command costs of a window beside its payload.
-define(COST, 64).

%% `{Stream, [Command]}`, encoded, as a part of a packet.
-type bundle() :: iodata().

%% A command with its cost of the stream's window; large where it takes more than one packet.
-type frame() :: {Cost :: pos_integer(), iodata()} | {large, text | binary, Size :: pos_integer(), iodata()}.

-spec version() -> pos_integer().
version() ->
    ?VERSION.

%% A packet from the sidecar. One that does not decode is a bug of ours. Its error does not hold the packet, which would
%% bring what clients sent into the log.
-spec decode(binary()) -> term().
decode(Packet) when byte_size(Packet) =< ?MAX_PACKET ->
    try
        binary_to_term(Packet, [safe])
    catch
        error:badarg -> error({undecodable_packet, byte_size(Packet)})
    end;
decode(Packet) ->
    error({undecodable_packet, byte_size(Packet)}).

%% They exist once this module is loaded. The errors of POSIX are those of the kernel's own table.
-spec atoms() -> [atom()].
atoms() ->
    {module, _} = code:ensure_loaded(erl_posix_msg),
    [
        hello, listen_error, vsn, os_pid, listening, local,
        request, lazy, woken, data, nofin, fin, part, text, binary, ping, pong, credit, closed, refused, log,
        gone, not_subscribed, max_topics, max_topics_per_client, dropped, backlog, subscribers, topics,
        remote, timeout, error, badframe, badencoding, badsize, warning, notice, info, debug, tls, ok,
        proxy_header, protocol, method, version, host, path, qs, headers, peer, streamid,
        connections, streams, kicked, stream, state, open, blocked, closing, age, idle, messages_in, bytes_in, messages_out, bytes_out,
        tracing, seen, traced, in, out, frames, time, stopped, not_found, too_many,
        credit_in, credit_out, compress, round_trip, 'tlsv1.3', 'tlsv1.2', reason, stop,
        'HTTP/1.1', 'HTTP/1.0', undefined, true, false, limit, limits,
        stats, messages_received, bytes_received, messages_sent, bytes_sent,
        %% How a request ends that its HTTP/2 client has broken off, and the codes (RFC 9113, 7).
        reset, stream_error, connection_error,
        no_error, protocol_error, internal_error, flow_control_error, settings_timeout, stream_closed, frame_size_error, refused_stream,
        cancel, compression_error, connect_error, enhance_your_calm, inadequate_security, http_1_1_required, unknown_error
    ] ++ outrider_metrics_table:atoms().

%% A bundle of one message, which is what most bundles are: as bundle/3 of frame/1, with one small binary in front of the
%% payload instead of three, since each costs whoever hands it to another process.
-spec message(pos_integer(), text | binary, iodata()) -> {Cost :: pos_integer(), bundle()} | frame().
message(Stream, text, Payload) when is_binary(Payload), byte_size(Payload) =< ?PIECE, Stream < 1 bsl 31 ->
    Size = byte_size(Payload),
    {Size + ?COST, [<<104, 2, 98, Stream:32, 108, 1:32, 104, 2, 119, 4, "text", 109, Size:32>>, Payload, 106]};
message(Stream, binary, Payload) when is_binary(Payload), byte_size(Payload) =< ?PIECE, Stream < 1 bsl 31 ->
    Size = byte_size(Payload),
    {Size + ?COST, [<<104, 2, 98, Stream:32, 108, 1:32, 104, 2, 119, 6, "binary", 109, Size:32>>, Payload, 106]};
message(Stream, Type, Payload) ->
    case frame({Type, Payload}) of
        {Cost, Data} -> {Cost, bundle(Stream, 1, Data)};
        Large -> Large
    end.

%% A frame as handlers return it. Fails, as cow_ws:frame/2 does, where a control frame is too long, a payload is no
%% iodata or the frame is none.
-spec frame(cow_ws:frame()) -> frame().
frame({text, Payload}) when is_binary(Payload) ->
    case byte_size(Payload) of
        Size when Size =< ?PIECE -> {Size + ?COST, [<<104, 2, 119, 4, "text", 109, Size:32>>, Payload]};
        Size -> {large, text, Size, Payload}
    end;
frame({binary, Payload}) when is_binary(Payload) ->
    case byte_size(Payload) of
        Size when Size =< ?PIECE -> {Size + ?COST, [<<104, 2, 119, 6, "binary", 109, Size:32>>, Payload]};
        Size -> {large, binary, Size, Payload}
    end;
frame({Type, Payload}) when Type =:= text; Type =:= binary ->
    %% A deep list would be copied element by element on its way to another process.
    frame({Type, iolist_to_binary(Payload)});
frame(ping) ->
    {?COST, <<119, 4, "ping">>};
frame(pong) ->
    {?COST, <<119, 4, "pong">>};
frame({ping, Payload}) ->
    control(<<"ping">>, Payload);
frame({pong, Payload}) ->
    control(<<"pong">>, Payload);
frame(close) ->
    {?COST, <<119, 5, "close">>};
frame({close, Payload}) ->
    frame({close, 1000, Payload});
frame({close, Code, Payload}) when Code >= 0, Code =< 16#ffff ->
    Size = iolist_size(Payload),
    true = Size =< 123,
    {Size + ?COST, [<<104, 3, 119, 5, "close", 98, Code:32, 109, Size:32>> | Payload]}.

control(Name, Payload) ->
    Size = iolist_size(Payload),
    true = Size =< 125,
    {Size + ?COST, [<<104, 2, 119, 4, Name/binary, 109, Size:32>> | Payload]}.

%% A list of messages, pings and pongs for many clients, as one term. Each is whole, however large it is. Fails as frame/1
%% does, and for a close frame.
-spec frames(cow_ws:frame() | [cow_ws:frame(), ...]) -> iodata().
frames(Frames) when is_list(Frames) ->
    [<<108, (length(Frames)):32>>, [whole(Frame) || Frame <- Frames], 106];
frames(Frame) ->
    [<<108, 1:32>>, whole(Frame), 106].

whole(Frame) when Frame =:= close; element(1, Frame) =:= close ->
    error(badarg, [Frame]);
whole(Frame) ->
    case frame(Frame) of
        {large, text, Size, Payload} -> [<<104, 2, 119, 4, "text", 109, Size:32>>, Payload];
        {large, binary, Size, Payload} -> [<<104, 2, 119, 6, "binary", 109, Size:32>>, Payload];
        {_Cost, Data} -> Data
    end.

%% The bundles of a large message, a packet each: the announcement of its size, then its pieces.
-spec pieces(pos_integer(), text | binary, iodata()) -> [{Cost :: non_neg_integer(), bundle()}].
pieces(Stream, Type, Payload0) ->
    Payload = iolist_to_binary(Payload0),
    Open = bundle(Stream, 1, command({open, Type, byte_size(Payload)})),
    [{?COST, Open} | parts(Stream, Payload)].

parts(_, <<>>) ->
    [];
parts(Stream, <<Part:?PIECE/binary, Rest/binary>>) ->
    [part(Stream, Part) | parts(Stream, Rest)];
parts(Stream, Part) ->
    [part(Stream, Part)].

part(Stream, Part) ->
    Size = byte_size(Part),
    {Size + ?COST, bundle(Stream, 1, [<<104, 2, 119, 4, "part", 109, Size:32>>, Part])}.

%% Any command, for bundle/3.
-spec command(term()) -> iodata().
command(Command) ->
    [<<131, First/binary>> | Rest] = erlang:term_to_iovec(Command),
    [First | Rest].

%% Count commands of one stream. What is built of integers alone lies on the heap; appending to a binary makes one outside.
-spec bundle(non_neg_integer(), pos_integer(), iodata()) -> bundle().
bundle(Stream, Count, Commands) when Stream < 1 bsl 31 ->
    [<<104, 2, 98, Stream:32, 108, Count:32>>, Commands, 106];
bundle(Stream, Count, Commands) ->
    <<131, Number/binary>> = term_to_binary(Stream),
    [<<104, 2>>, Number, <<108, Count:32>>, Commands, 106].

%% Any commands of one stream. Those that the sidecar would not take in one packet (the headers of a response can be of any
%% size) fail here, in their own stream.
-spec bundle(non_neg_integer(), [term()]) -> bundle().
bundle(Stream, Commands) ->
    Bundle = command({Stream, Commands}),
    case iolist_size(Bundle) + ?AROUND of
        Size when Size =< ?MAX_PACKET -> Bundle;
        Size -> error({packet_too_large, Size})
    end.

%% A packet of Count bundles.
-spec packet(pos_integer(), [bundle()] | bundle()) -> iodata().
packet(1, Bundles) ->
    [<<131, 108, 1:32>>, Bundles, 106];
packet(Count, Bundles) ->
    [<<131, 108, Count:32>>, Bundles, 106].

-ifdef(TEST).
-include_lib("eunit/include/eunit.hrl").

-define(term(Packet), binary_to_term(iolist_to_binary(Packet))).

frames_are_the_terms_they_stand_for_test_() ->
    Deep = [<<"a">>, ["b", [$c]], <<"d">>],
    Flat = iolist_to_binary(Deep),
    Cases = [
        {ping, ping}, {pong, pong}, {close, close},
        {{close, <<"bye">>}, {close, 1000, <<"bye">>}}, {{close, 4999, Deep}, {close, 4999, Flat}},
        {{close, 0, <<>>}, {close, 0, <<>>}}, {{close, 65535, ""}, {close, 65535, <<>>}}
    ] ++ [{{Type, Deep}, {Type, Flat}} || Type <- [text, binary, ping, pong]] ++
        [{{Type, binary:copy(<<7>>, 65536)}, {Type, binary:copy(<<7>>, 65536)}} || Type <- [text, binary]],
    [
        ?_assertEqual([{Id, [Command]}], begin
            {_, Data} = frame(Frame),
            ?term(packet(1, bundle(Id, 1, Data)))
        end)
     || {Frame, Command} <- Cases, Id <- [0, 1, 255, 256, 1 bsl 27, 1 bsl 31, 1 bsl 40]
    ].

a_message_is_the_bundle_of_its_frame_test_() ->
    [
        ?_assertEqual({Cost, [{Stream, [{Type, iolist_to_binary(Payload)}]}]}, begin
            {Cost, Bundle} = message(Stream, Type, Payload),
            {Cost, ?term(packet(1, Bundle))}
        end)
     || Type <- [text, binary], Stream <- [1, 255, 256, 1 bsl 31 - 1, 1 bsl 31, 1 bsl 40],
        Payload <- [<<>>, <<"a">>, ["a", <<"b">>], binary:copy(<<7>>, 65535), binary:copy(<<7>>, 65536)],
        Cost <- [iolist_size(Payload) + 64]
    ] ++ [?_assertMatch({large, binary, 65537, _}, message(1, binary, binary:copy(<<7>>, 65537)))].

commands_and_bundles_of_one_packet_keep_their_order_test() ->
    {_, A} = frame({text, <<"a">>}),
    {_, B} = frame(close),
    Bundles = [bundle(3, 3, [A, command({active, false}), B]), bundle(300, [abort]), bundle(3, 1, A)],
    ?assertEqual([{3, [{text, <<"a">>}, {active, false}, close]}, {300, [abort]}, {3, [{text, <<"a">>}]}],
        ?term(packet(3, Bundles))).

a_frame_costs_its_payload_and_64_bytes_test() ->
    ?assertMatch({64, _}, frame({text, ""})),
    ?assertMatch({164, _}, frame({binary, lists:duplicate(100, $x)})),
    ?assertMatch({64, _}, frame(ping)),
    ?assertMatch({67, _}, frame({close, 1000, "bye"})).

control_frames_have_their_limits_test() ->
    X = fun(Size) -> binary:copy(<<"x">>, Size) end,
    _ = [?assertMatch({_, _}, frame({Type, X(Size)})) || Type <- [ping, pong], Size <- [124, 125]],
    _ = [?assertError({badmatch, false}, frame({Type, X(126)})) || Type <- [ping, pong]],
    ?assertMatch({_, _}, frame({close, 1000, X(123)})),
    ?assertError({badmatch, false}, frame({close, 1000, X(124)})),
    ?assertError(function_clause, frame({close, 65536, <<>>})),
    ?assertError(function_clause, frame({fragment, fin, text, <<>>})),
    ?assertError(badarg, frame({text, [300]})).

a_large_message_crosses_in_pieces_that_add_up_test_() ->
    [
        fun() ->
            Payload = rand:bytes(Size),
            {large, binary, Size, Payload} = frame({binary, Payload}),
            [{64, Open} | Parts] = pieces(9, binary, Payload),
            ?assertEqual([{9, [{open, binary, Size}]}], ?term(packet(1, Open))),
            Terms = [{Cost, ?term(packet(1, Part))} || {Cost, Part} <- Parts],
            _ = [?assertEqual(byte_size(P) + 64, Cost) || {Cost, [{9, [{part, P}]}]} <- Terms],
            ?assertEqual(Payload, << <<P/binary>> || {_, [{9, [{part, P}]}]} <- Terms, byte_size(P) =< 65536 >>)
        end
     || Size <- [65537, 131072, 200000]
    ].

no_packet_makes_an_atom_test() ->
    ?assertError({undecodable_packet, 24}, decode(<<131, 119, 21, "an_atom_nobody_wrote_">>)).

a_packet_has_16_mib_at_most_test() ->
    Packet = fun(Size) -> <<131, 109, (Size - 6):32, 0:(8 * (Size - 6))>> end,
    Most = 16777216,
    [?assertEqual(Size - 6, byte_size(decode(Packet(Size)))) || Size <- [Most - 1, Most]],
    ?assertError({undecodable_packet, 16777217}, decode(Packet(Most + 1))),
    %% What is around a header of no bytes.
    Headers = fun(Value) -> packet(1, bundle(1, [{headers, 200, [{<<"a">>, Value}]}])) end,
    Around = iolist_size(Headers(<<>>)),
    Down = fun(Size) -> Headers(binary:copy(<<"x">>, Size - Around)) end,
    [?assertEqual(Size, iolist_size(Down(Size))) || Size <- [Most - 1, Most]],
    ?assertError({packet_too_large, 16777217}, Down(Most + 1)).

a_lying_length_allocates_nothing_test() ->
    %% A binary, a list, a tuple, a map and a bignum, each of which says that it is much longer than the packet.
    [?assertError({undecodable_packet, 6}, decode(<<131, Tag, 16#7fffffff:32>>)) || Tag <- [109, 108, 105, 116, 111]].

-endif.
