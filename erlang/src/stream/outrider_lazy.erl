%%% A WebSocket without a process: what its handler begins with is with the sidecar, until it begins.
%%%
%%% To the sidecar these are bytes, which it keeps with the WebSocket; nothing of either stays in the VM. They come back as the event
%%% `{lazy, Bytes}', before the client's first message or when somebody wakes the handler (outrider:wake/2), and a new process begins
%%% where that of another WebSocket goes on after the upgrade. The sidecar may have fewer rights than the VM: what it brings is
%%% taken for a term only with a code that none but the VM can make, and only in the stream for which it was made.
-module(outrider_lazy).

-export([pack/3, start/3]).

%% A sidecar is not made to keep more of one WebSocket.
-define(MAX_BYTES, 65536).
-define(CODE_BYTES, 16).

-type begins() :: {outrider_upgrade:init(), undefined | outrider_backlog:backlog(), IsTold :: boolean()}.

%% The bytes for the sidecar, if they are not too many.
-spec pack(begins(), Stream :: pos_integer(), outrider_context:context()) -> {ok, binary()} | too_large.
pack(Begins, Number, Context) ->
    Term = term_to_binary(Begins),
    case ?CODE_BYTES + byte_size(Term) of
        Size when Size =< ?MAX_BYTES -> {ok, <<(code(Term, Number, Context))/binary, Term/binary>>};
        _ -> too_large
    end.

-spec unpack(binary(), pos_integer(), outrider_context:context()) -> begins().
unpack(<<Code:?CODE_BYTES/binary, Term/binary>>, Number, Context) ->
    true = crypto:hash_equals(Code, code(Term, Number, Context)),
    binary_to_term(Term).

code(Term, Number, #{key := Key}) ->
    crypto:macN(hmac, sha256, outrider_secret:open(Key), [<<Number:64>>, Term], ?CODE_BYTES).

%% The process. Linked to its parent before anything else, as a request's is.
-spec start(outrider_context:context(), Stream :: pos_integer(), binary()) -> no_return().
start(Context = #{port := Port, parent := Parent, ancestors := Ancestors}, Number, Bytes) ->
    link(Parent),
    put('$ancestors', Ancestors),
    put('$initial_call', {?MODULE, start, 3}),
    Monitor = monitor(port, Port),
    {Init, Backlog, IsTold} = unpack(Bytes, Number, Context),
    Writer = outrider_writer:write_last(outrider_protocol:bundle(Number, [{pid, self()}]), outrider_writer:new(Context, Monitor)),
    outrider_websocket:start(Context, Number, Monitor, outrider_backlog:writer(Backlog, Writer), Backlog, IsTold, own(Init)).

%% A Req that has a process, as a handler's req_filter may leave it, has this one.
own({Handler, HandlerState, Req = #{pid := _}}) -> {Handler, HandlerState, Req#{pid := self()}};
own(Init) -> Init.

-ifdef(TEST).
-include_lib("eunit/include/eunit.hrl").

context() ->
    #{key => outrider_secret:seal(crypto:strong_rand_bytes(32))}.

begins(State) ->
    {{handler, State, #{path => <<"/">>}}, undefined, false}.

what_comes_back_is_what_was_given_test() ->
    Context = context(),
    Begins = begins({self(), make_ref(), fun lists:sort/1, <<1:7>>}),
    {ok, Bytes} = pack(Begins, 7, Context),
    ?assertEqual(Begins, unpack(Bytes, 7, Context)).

what_was_given_for_another_stream_or_by_another_vm_is_not_taken_test() ->
    Context = context(),
    {ok, Bytes} = pack(begins(state), 7, Context),
    ?assertError({badmatch, false}, unpack(Bytes, 8, Context)),
    ?assertError({badmatch, false}, unpack(Bytes, 7, context())).

bytes_that_were_changed_are_not_taken_test_() ->
    Context = context(),
    {ok, Bytes} = pack(begins(state), 7, Context),
    Flip = fun(N) ->
        <<Before:N/binary, Byte, After/binary>> = Bytes,
        <<Before/binary, (Byte bxor 1), After/binary>>
    end,
    [?_assertError({badmatch, false}, unpack(Flip(N), 7, Context)) || N <- lists:seq(0, byte_size(Bytes) - 1)].

no_more_than_64_kib_are_given_test() ->
    Context = context(),
    Sized = fun(Size) -> pack(begins(binary:copy(<<"x">>, Size)), 7, Context) end,
    {ok, Least} = Sized(0),
    Most = 65536 - byte_size(Least),
    [begin
        {ok, Bytes} = Sized(Size),
        ?assertEqual(byte_size(Least) + Size, byte_size(Bytes))
    end || Size <- [Most - 1, Most]],
    ?assertEqual(too_large, Sized(Most + 1)).

-endif.
