%% A session: a cookie that says who somebody is and until when, signed so that nobody else can write one.
%%
%% The value is NAME.EXPIRES.SIGNATURE: the name in hexadecimal, seconds since 1970, and HMAC-SHA256 of the two in
%% hexadecimal. Nothing is kept on the server, so a session cannot be ended before it expires; the key is made at start,
%% so a restart ends all.
-module(taskboard_session).

-export([make_key/0, open/2, close/1, user/1]).

-define(COOKIE, <<"session">>).
-define(KEY, {?MODULE, key}).
-define(LIFE, 12 * 60 * 60). % seconds

-spec make_key() -> ok.
make_key() ->
    persistent_term:put(?KEY, crypto:strong_rand_bytes(32)).

%% Sets the cookie in the answer to come.
-spec open(Name :: binary(), cowboy_req:req()) -> cowboy_req:req().
open(Name, Req) ->
    Expires = integer_to_binary(erlang:system_time(second) + ?LIFE),
    Claim = <<(binary:encode_hex(Name))/binary, ".", Expires/binary>>,
    set_cookie(<<Claim/binary, ".", (signature(Claim))/binary>>, ?LIFE, Req).

-spec close(cowboy_req:req()) -> cowboy_req:req().
close(Req) ->
    set_cookie(<<>>, 0, Req).

%% Who sent the request.
-spec user(cowboy_req:req()) -> {ok, binary()} | error.
user(Req) ->
    #{session := Cookie} = cowboy_req:match_cookies([{session, [], <<>>}], Req),
    case binary:split(Cookie, <<".">>, [global]) of
        [Name, Expires, Signature] ->
            Valid =
                is_signed(<<Name/binary, ".", Expires/binary>>, Signature) andalso
                    binary_to_integer(Expires) > erlang:system_time(second),
            case Valid of
                true -> {ok, binary:decode_hex(Name)};
                false -> error
            end;
        _ ->
            error
    end.

signature(Claim) ->
    binary:encode_hex(crypto:mac(hmac, sha256, persistent_term:get(?KEY), Claim)).

%% In constant time, so that how long it takes tells nothing of the signature.
is_signed(Claim, Signature) ->
    Right = signature(Claim),
    byte_size(Signature) =:= byte_size(Right) andalso crypto:hash_equals(Signature, Right).

%% SameSite keeps pages of other sites from acting in the user's name, and from opening our WebSocket.
set_cookie(Value, Life, Req) ->
    Attributes = #{http_only => true, same_site => strict, path => <<"/">>, max_age => Life},
    cowboy_req:set_resp_cookie(?COOKIE, Value, Req, Attributes).
