// A mail server (npm `smtp-server`) on a loopback port that takes every message and prints it: one JSON line each,
// { "from", "to": [...], "data": the message as it came }. Usage: smtp_server.mjs PORT

import { SMTPServer } from 'smtp-server';

const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, session, done) {
        const chunks = [];
        stream.on('data', (chunk) => chunks.push(chunk));
        stream.on('end', () => {
            const { mailFrom, rcptTo } = session.envelope;
            const data = Buffer.concat(chunks).toString('utf8');
            console.log(JSON.stringify({ from: mailFrom.address, to: rcptTo.map(({ address }) => address), data }));
            done();
        });
    },
});
server.listen(Number(process.argv[2]), '127.0.0.1');
