// A mail server (npm `smtp-server`) on a loopback port that takes every message and appends it to a file: one JSON line
// each, { "from", "to": [...], "data": the message as it came }. Usage: smtp_server.mjs PORT FILE

import { appendFileSync } from 'node:fs';
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
            const mail = { from: mailFrom.address, to: rcptTo.map(({ address }) => address), data };
            appendFileSync(process.argv[3], `${JSON.stringify(mail)}\n`);
            done();
        });
    },
});
server.listen(Number(process.argv[2]), '127.0.0.1');
