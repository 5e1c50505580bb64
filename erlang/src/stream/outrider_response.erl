%%% One response on its way: the stream chain's commands in, the sidecar's commands out.
%%%
%%% Runs in the stream's process. It knows what of the response has been sent and refuses what would break the message;
%%% framing (chunks, keep-alive, HEAD) is the sidecar's. Bodies cross the port in pieces of at most 64 KiB, within the
%%% stream's window, whatever the size that the handler gave.
-module(outrider_response).

-export([new/4, command/2, missing/2, upgrade/3, abort/1]).
-export([credit/2, is_full/1, wait/1, is_unsent/1, closing/1, has_been_large/1]).
-export_type([response/0, result/0]).

-define(PIECE, 65536).
%% What a piece costs of the window beside its payload; a file costs no more, its bytes do not cross the port.
-define(COST, 64).
%% Credit for request bodies where the handler asks for all there is: 1 TiB.
-define(NO_LIMIT, 1 bsl 40).
%% What the sidecar can count, of bytes and of milliseconds.
-define(IS_SIZE(Value), (is_integer(Value) andalso Value >= 0 andalso Value =< 16#7fffffffffffffff)).

-record(response, {
    number :: pos_integer(),
    is_head :: boolean(),
    version :: cowboy:http_version(),
    te :: binary() | undefined,
    writer :: outrider_writer:writer(),
    invalid_headers :: error_terminate | ignore,
    %% sized: so many bytes are left of what content-length promised. full: none is, though the handler has not said the end.
    state = unsent :: unsent | open | {sized, pos_integer()} | full | done,
    %% It has gone out in pieces since that was asked last.
    large = false :: boolean(),
    %% The connection is to be closed after this response.
    closing = false :: boolean()
}).

-opaque response() :: #response{}.
-type result() ::
    {ok, response()} | {error, atom()} | {closed, term()} | {unsupported, term()} | {misuse | surplus, atom()}.

-spec new(pos_integer(), cowboy_req:req(), outrider_writer:writer(), cowboy:opts()) -> response().
new(Number, #{method := Method, version := Version, headers := Headers}, Writer, Opts) ->
    #response{
        number = Number,
        is_head = Method =:= <<"HEAD">>,
        version = Version,
        te = maps:get(<<"te">>, Headers, undefined),
        writer = Writer,
        invalid_headers = maps:get(invalid_response_headers, Opts, error_terminate)
    }.

%% Carry out one of the commands of cowboy_stream that concern the sidecar. misuse is what would break the message,
%% surplus what comes behind a whole one.
-spec command(term(), response()) -> result().
command({inform, _, _}, R = #response{state = unsent, version = 'HTTP/1.0'}) ->
    {ok, R};
command({inform, Status, Headers}, R = #response{state = unsent}) ->
    send(0, {inform, status(Status), headers(Headers, R)}, R);
command({error_response, Status, Headers, Body}, R = #response{state = unsent}) ->
    case cow_http:status_to_integer(Status) of
        408 -> command({response, Status, Headers#{<<"connection">> => <<"close">>}, Body}, R);
        _ -> command({response, Status, Headers, Body}, R)
    end;
command({error_response, _, _, _}, R) ->
    {ok, R};
command({response, Status, Headers, {sendfile, _, _, _} = File}, R = #response{state = unsent}) ->
    send(0, {response, status(Status), head(Headers, R), file(File)}, R#response{state = done});
command({response, Status, Headers, Body0}, R = #response{state = unsent}) ->
    case iolist_to_binary(Body0) of
        Body when byte_size(Body) =< ?PIECE ->
            send(0, {response, status(Status), head(Headers, R), Body}, R#response{state = done});
        Body ->
            Length = #{<<"content-length">> => integer_to_binary(byte_size(Body))},
            Head = {headers, status(Status), head(maps:merge(Length, Headers), R)},
            then(send(0, Head, R), fun(Begun) -> pieces(fin, Body, Begun#response{state = done}) end)
    end;
command({headers, Status, Headers}, R = #response{state = unsent}) ->
    stream(cow_http:status_to_integer(Status), Status, te(Headers, R), R);
command({data, IsFin, Data}, R) ->
    data(IsFin, Data, data_size(Data), R);
command({trailers, Trailers}, R = #response{state = open, te = Te}) ->
    case accepts_trailers(Te) of
        true -> send(0, {trailers, headers(Trailers, R)}, R#response{state = done});
        false -> command({data, fin, <<>>}, R)
    end;
command({trailers, _}, R = #response{state = State}) when State =:= done; State =:= full ->
    {ok, R};
command({flow, infinity}, R) ->
    send(0, {flow, ?NO_LIMIT}, R);
command({flow, Bytes}, R) when is_integer(Bytes), Bytes >= 0 ->
    send(0, {flow, min(Bytes, ?NO_LIMIT)}, R);
command({set_options, Options}, R) ->
    case maps:map(fun checked/2, maps:with([idle_timeout, chunked], Options)) of
        None when map_size(None) =:= 0 -> {ok, R};
        Checked -> send(0, {set_options, Checked}, R)
    end;
command({push, _, _, _, _, _, _, _}, R) ->
    {ok, R};
command(Command, _) when
    element(1, Command) =:= inform; element(1, Command) =:= response; element(1, Command) =:= headers;
    element(1, Command) =:= trailers
->
    {misuse, response_out_of_order};
command(Command, _) ->
    {unsupported, Command}.

%% What is to be sent when a stream ends for this reason: a message for its chain, if anything. HTTP/2 can say that there will be none.
-spec missing(cowboy_stream:reason(), response()) ->
    nothing | {abort, term()} | cowboy_stream:resp_command() | {data, fin, binary()}.
missing(Reason, #response{state = State, version = 'HTTP/2'}) when
    is_tuple(Reason), element(1, Reason) =:= internal_error, State =/= done
->
    {abort, Reason};
missing(Reason, #response{state = unsent}) when is_tuple(Reason), element(1, Reason) =:= internal_error ->
    {response, 500, #{<<"content-length">> => <<"0">>}, <<>>};
missing(Reason, #response{state = unsent}) when is_tuple(Reason), element(1, Reason) =:= connection_error ->
    {response, 400, #{<<"content-length">> => <<"0">>}, <<>>};
missing(_, #response{state = unsent}) ->
    {response, 204, #{}, <<>>};
missing(_, #response{state = open}) ->
    {data, fin, <<>>};
missing(_, #response{state = {sized, _}}) ->
    {abort, response_body_too_small};
missing(_, #response{state = State}) when State =:= done; State =:= full ->
    nothing.

%% Answer 101, and give the writer to the WebSocket that the stream becomes.
-spec upgrade(cowboy:http_headers(), map(), response()) -> outrider_writer:writer().
upgrade(Headers, Options, R = #response{number = Number, writer = Writer}) ->
    outrider_writer:write_last(outrider_protocol:bundle(Number, [{websocket, headers(Headers, R), Options}]), Writer).

%% Close the client's connection, or reset its stream in HTTP/2.
-spec abort(response()) -> ok.
abort(#response{number = Number, writer = Writer}) ->
    _ = outrider_writer:write_last(outrider_protocol:bundle(Number, [abort]), Writer),
    ok.

-spec credit(pos_integer(), response()) -> response().
credit(Bytes, R = #response{writer = Writer}) ->
    R#response{writer = outrider_writer:credit(Bytes, Writer)}.

-spec is_full(response()) -> boolean().
is_full(#response{writer = Writer}) ->
    outrider_writer:is_full(Writer).

-spec wait(response()) -> result().
wait(R = #response{writer = Writer}) ->
    written(outrider_writer:wait(Writer), R).

-spec is_unsent(response()) -> boolean().
is_unsent(#response{state = State}) ->
    State =:= unsent.

%% The connection ends with this response, which says so if its head is not sent yet.
-spec closing(response()) -> response().
closing(R = #response{number = Number, writer = Writer}) ->
    R#response{closing = true, writer = outrider_writer:write_last(outrider_protocol:bundle(Number, [drain]), Writer)}.

%% Whether there is anything large to be forgotten: what refers to it is small, and would keep it while its process waits.
-spec has_been_large(response()) -> {true, response()} | false.
has_been_large(#response{large = false}) -> false;
has_been_large(R) -> {true, R#response{large = false}}.

%% A response whose body follows. One of 204 or 304 has none.
stream(Code, Status, Headers, R) when Code =:= 204; Code =:= 304 ->
    command({response, Status, Headers, <<>>}, R);
stream(_, Status, Headers, R = #response{is_head = IsHead, version = Version}) ->
    Head = {headers, status(Status), head(Headers, R)},
    case Headers of
        %% In HTTP/2 frames say where the body ends, and the client holds it against this (RFC 9113, 8.1.1).
        #{<<"content-length">> := Length} when not IsHead, Version =/= 'HTTP/2' ->
            case cow_http_hd:parse_content_length(iolist_to_binary(Length)) of
                0 -> command({response, Status, Headers, <<>>}, R);
                Size -> send(0, Head, R#response{state = {sized, Size}})
            end;
        #{} ->
            send(0, Head, R#response{state = open})
    end.

data(nofin, _, 0, R) ->
    {ok, R};
data(_, _, 0, R = #response{state = State}) when State =:= done; State =:= full ->
    {ok, R};
data(_, _, _, #response{state = full}) ->
    {surplus, response_body_too_large};
data(fin, _, _, R = #response{state = open, is_head = true}) ->
    send(?COST, {data, fin, <<>>}, R#response{state = done});
data(nofin, _, _, R = #response{state = open, is_head = true}) ->
    {ok, R};
data(fin, Data, Size, R = #response{state = {sized, Left}}) when Size < Left ->
    case data(nofin, Data, Size, R) of
        {ok, _} -> {misuse, response_body_too_small};
        Error -> Error
    end;
data(_, Data, Left, R = #response{state = {sized, Left}}) ->
    pieces(fin, Data, R#response{state = full});
data(nofin, Data, Size, R = #response{state = {sized, Left}}) when Size < Left ->
    pieces(nofin, Data, R#response{state = {sized, Left - Size}});
data(_, _, _, #response{state = {sized, _}}) ->
    {misuse, response_body_too_large};
data(fin, Data, _, R = #response{state = open}) ->
    pieces(fin, Data, R#response{state = done});
data(nofin, Data, _, R = #response{state = open}) ->
    pieces(nofin, Data, R);
data(_, _, _, _) ->
    {misuse, response_out_of_order}.

pieces(IsFin, {sendfile, _, _, _} = File, R) ->
    send(?COST, {data, IsFin, file(File)}, R);
pieces(IsFin, <<Piece:?PIECE/binary, Rest/binary>>, R) when Rest =/= <<>> ->
    then(send(?PIECE + ?COST, {data, nofin, Piece}, R), fun(Sent) -> pieces(IsFin, Rest, Sent#response{large = true}) end);
pieces(IsFin, Piece, R) when is_binary(Piece) ->
    send(byte_size(Piece) + ?COST, {data, IsFin, Piece}, R);
pieces(IsFin, Data, R) ->
    pieces(IsFin, iolist_to_binary(Data), R).

send(Cost, Command, R = #response{number = Number, writer = Writer}) ->
    try outrider_protocol:bundle(Number, [Command]) of
        Bundle -> written(outrider_writer:write([{Cost, Bundle}], Writer), R)
    catch
        error:{packet_too_large, _} -> {misuse, response_head_too_large}
    end.

written({ok, Writer}, R) -> {ok, R#response{writer = Writer}};
written(Ended, _) -> Ended.

then({ok, R}, Next) -> Next(R);
then(Error, _) -> Error.

data_size({sendfile, _, Length, _}) -> Length;
data_size(Data) -> iolist_size(Data).

%% The sidecar has its own working directory and takes absolute paths as bytes.
file({sendfile, Offset, Length, Path}) when ?IS_SIZE(Offset), ?IS_SIZE(Length) ->
    Absolute = filename:absname(Path),
    Bytes =
        case is_binary(Absolute) of
            true -> Absolute;
            false -> unicode:characters_to_binary(Absolute, unicode, file:native_name_encoding())
        end,
    {sendfile, Offset, Length, Bytes}.

checked(idle_timeout, infinity) -> infinity;
checked(idle_timeout, Timeout) when ?IS_SIZE(Timeout) -> Timeout;
checked(chunked, Chunked) when is_boolean(Chunked) -> Chunked.

%% Only what the sidecar can decode may cross the port: a status is three digits, as number or at the head of its text.
status(Code) when is_integer(Code), Code >= 100, Code =< 999 ->
    Code;
status(<<A, B, C, Phrase/binary>> = Status) when A >= $1, A =< $9, B >= $0, B =< $9, C >= $0, C =< $9 ->
    case Phrase of
        <<>> -> Status;
        <<" ", _/binary>> -> Status
    end.

head(Headers, R = #response{closing = true}) -> headers(Headers#{<<"connection">> => <<"close">>}, R);
head(Headers, R) -> headers(Headers, R).

headers(Headers, #response{invalid_headers = error_terminate}) ->
    headers(Headers);
headers(Headers, #response{invalid_headers = ignore}) ->
    [{Name, << <<(visible(Byte))>> || <<Byte>> <= Value >>} || {Name, Value} <- headers(Headers)].

%% A control character may not be sent on; RFC 9110, 5.5, offers this in its place.
visible(Byte) when Byte < $\s, Byte =/= $\t; Byte =:= 127 -> $\s;
visible(Byte) -> Byte.

%% In the map's order; then a line for each cookie, whose values are a list.
headers(Headers) ->
    {Cookies, Others} =
        case Headers of
            #{<<"set-cookie">> := Values} -> {Values, maps:remove(<<"set-cookie">>, Headers)};
            #{} -> {[], Headers}
        end,
    [{Name, iolist_to_binary(Value)} || {Name, Value} <- maps:to_list(Others), is_binary(Name)] ++
        [{<<"set-cookie">>, iolist_to_binary(Value)} || Value <- Cookies].

te(Headers, #response{version = 'HTTP/2'}) ->
    Headers;
te(Headers, #response{te = Te}) ->
    case accepts_trailers(Te) of
        true -> Headers;
        false -> maps:remove(<<"trailer">>, Headers)
    end.

accepts_trailers(undefined) ->
    false;
accepts_trailers(Te) ->
    try cow_http_hd:parse_te(Te) of
        {Trailers, _} -> Trailers =:= trailers
    catch
        _:_ -> false
    end.
